// Package natsauth decides which NATS clients may connect, and to what: users, and attachments, which are programs such
// as bots, archives and other bridges. It answers the auth callout of the NATS server, and closes the connections of
// clients whose credentials are revoked.
package natsauth

import (
	"errors"

	"imctl/kv"
)

// Access is what NATS clients connect to.
type Access struct {
	Account         string   // of all clients but consumers
	ConsumerAccount string   // of consumers: it exports nothing but what they need; "" for none
	Reserved        []string // names of users in NATS's own configuration
	URL             string   // where clients connect
	Shared          bool     // other installations may use the same accounts
	// NoClients is why NATS clients cannot log in by this node, "" if they can.
	NoClients string
	// Try logs in to NATS as a client. Its error is ErrNoClients if NATS refuses the credentials. nil: it is not known
	// whether other nodes let clients log in.
	Try func(user, password string) error
	// Ask makes a request as a client whose inboxes begin with inbox. Its error tells that no answer came. nil: all requests
	// reach the server.
	Ask        func(user, password, inbox, subject, body string) error
	CA         string // file with the certificate of the URL; "" without TLS, or if the system knows its issuer
	ClientCert bool   // the server at URL may require a client certificate
	Page       int    // how many connections a NATS server lists in one answer; 0: 1024
	Domain     string // JetStream domain of the streams; "" for the domain of the server at URL
}

// ErrNoClients means that attachments cannot log in to NATS, or not with that role.
var ErrNoClients = errors.New("NATS clients cannot log in")

// accounts returns the accounts that clients may be in.
func (a Access) accounts() []string {
	if a.ConsumerAccount == "" {
		return []string{a.Account}
	}
	return []string{a.Account, a.ConsumerAccount}
}

// accountOf returns the account of attachments with a role.
func (a Access) accountOf(r kv.Role) string {
	if r.HasConsumer() {
		return a.ConsumerAccount
	}
	return a.Account
}

// Context is what a NATS client needs to connect, in the format of the nats tool's context files
// (https://github.com/nats-io/jsm.go, package natscontext).
type Context struct {
	Description string `json:"description"`
	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	InboxPrefix string `json:"inbox_prefix,omitempty"`
	CA          string `json:"ca,omitempty"`
	Domain      string `json:"jetstream_domain,omitempty"`
}
