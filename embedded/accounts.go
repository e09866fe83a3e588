package embedded

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// The accounts of the server. Everything lives in IM. Whoever logs in shows its
// password to AUTH, where nobody but the program listens. SYS closes connections.
//
// Consumers of the log have an account to themselves, which takes from IM the
// requests that a consumer needs and nothing else: NATS checks whether a client may
// publish on a subject, but never what it asks the answer to be sent to. In IM a
// consumer could have JetStream answer it on $JS.API.STREAM.DELETE.<stream>, and the
// stream would be gone. An import sends answers back into the account that asked.
const (
	account         = "IM"
	consumerAccount = "LOG"
	calloutAccount  = "AUTH"
	systemAccount   = "SYS"

	bridgeUser  = "bridge"
	adminUser   = "admin"
	calloutUser = "auth"
	systemUser  = "sys"
)

// authTimeout is how many seconds a client's login may take: hashing a password may have to wait for its turn.
const authTimeout = 5

// consumerServices are what a client needs to pull from a consumer that is there.
// $JS.API.INFO is one of them since without it NATS would import all of JetStream's API
// by itself, and answer each request twice.
var consumerServices = []struct{ subject, response string }{
	{"$JS.API.INFO", "singleton"},
	{"$JS.API.CONSUMER.INFO.*.*", "singleton"},
	{"$JS.API.CONSUMER.MSG.NEXT.*.*", "stream"},
	{"$JS.ACK.>", "singleton"},
}

// accounts returns the part of the configuration that says who may connect. Users
// are either listed, and stay out of the callout's hands, or known to the callout.
func (s settings) accounts() string {
	var b strings.Builder
	fmt.Fprintf(&b, "system_account: %s\naccounts {\n", systemAccount)
	for _, inside := range []struct{ account, user string }{{systemAccount, systemUser}, {calloutAccount, calloutUser}} {
		fmt.Fprintf(&b, "  %s {\n    users: [\n", inside.account)
		s.user(&b, inside.user, s.bridgeHash, "IN_PROCESS")
		b.WriteString("    ]\n  }\n")
	}
	fmt.Fprintf(&b, "  %s {\n    jetstream: enabled\n    users: [\n", account)
	s.user(&b, bridgeUser, s.bridgeHash, "IN_PROCESS")
	s.user(&b, adminUser, s.adminHash, "IN_PROCESS, STANDARD")
	b.WriteString("    ]\n    exports: [\n")
	for _, e := range consumerServices {
		fmt.Fprintf(&b, "      {service: %s, response: %s, accounts: [%s]}\n", quote(e.subject), e.response, consumerAccount)
	}
	fmt.Fprintf(&b, "    ]\n  }\n  %s {\n    imports: [\n", consumerAccount)
	for _, e := range consumerServices {
		fmt.Fprintf(&b, "      {service: {account: %s, subject: %s}}\n", account, quote(e.subject))
	}
	b.WriteString("    ]\n  }\n}\n")
	fmt.Fprintf(&b, "authorization {\n  timeout: %d\n  auth_callout {\n    issuer: %s\n    account: %s\n    auth_users: [%s]\n  }\n}\n",
		authTimeout, s.issuer, calloutAccount, strings.Join(StaticUsers(), ", "))
	return b.String()
}

func (s settings) user(b *strings.Builder, name, hash, types string) {
	fmt.Fprintf(b, "      {user: %s, password: %s, allowed_connection_types: [%s]}\n", name, quote(hash), types)
}

// StaticUsers are the names that the server knows by itself: nobody else logs in under one of them.
func StaticUsers() []string { return []string{bridgeUser, adminUser, calloutUser, systemUser} }

// newIssuer makes the key that signs what the callout answers. It lives as long as
// the server: what it signed is of no use once the connection is there.
func newIssuer() (key nkeys.KeyPair, public string, err error) {
	if key, err = nkeys.CreateAccount(); err == nil {
		public, err = key.PublicKey()
	}
	if err != nil {
		return nil, "", fmt.Errorf("make the callout's key: %w", err)
	}
	return key, public, nil
}

// Callout opens a connection for answering who may log in, in an account where nothing else happens.
func (s *Server) Callout(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(name, calloutUser, s.secret, opts)
}

// System opens a connection to the system account, from which connections can be listed and closed.
func (s *Server) System(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(name, systemUser, s.secret, opts)
}

// Issuer is the key that the callout's answers have to be signed with.
func (s *Server) Issuer() nkeys.KeyPair { return s.issuer }

// Account is the account that everything lives in.
func (s *Server) Account() string { return account }

// ConsumerAccount is the account of those who read the log and do nothing else.
func (s *Server) ConsumerAccount() string { return consumerAccount }
