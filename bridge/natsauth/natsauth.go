// Package natsauth decides which NATS clients may connect, and to what: users, and attachments, which are programs such
// as bots, archives and other bridges. It answers the auth callout of the NATS server, and closes the connections of
// clients whose credentials are revoked.
package natsauth

import (
	"imctl/kv"
)

// Access is what NATS clients connect to.
type Access struct {
	Account         string   // of all clients but consumers
	ConsumerAccount string   // of consumers: it exports nothing but what they need
	Reserved        []string // names of users in NATS's own configuration
	URL             string   // where clients connect
	CA              string   // file with the certificate of the URL; "" without TLS, or if the system knows its issuer
	ClientCert      bool     // the server at URL may require a client certificate
	Domain          string   // JetStream domain of the streams; "" for the domain of the server at URL
}

// accounts returns the accounts that clients may be in.
func (a Access) accounts() []string { return []string{a.Account, a.ConsumerAccount} }

// accountOf returns the account of attachments with a role.
func (a Access) accountOf(r kv.Role) string {
	if r == kv.RoleConsumer {
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
