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
	Account         = "IM"
	ConsumerAccount = "LOG"
	calloutAccount  = "AUTH"
	systemAccount   = "SYS"
)

// The users that the server inside the program knows by itself.
const (
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

// AccountUser is a user that NATS knows by itself.
type AccountUser struct {
	Name  string
	Hash  string // of the password, by bcrypt
	Types string // of connections that it may make, as NATS names them, with commas between; "" for all
}

// Accounts are who may connect to a NATS server, and how far that reaches.
type Accounts struct {
	Bridge, Callout, System AccountUser
	Admin                   AccountUser // none without a name
	Issuer                  string      // public key by which the callout's answers are known
}

// Text writes the part of a NATS server's configuration. Users are either listed
// there, and stay out of the callout's hands, or known to the callout. Those of
// other accounts that the server may have are no concern of the callout either.
func (a Accounts) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "system_account: %s\naccounts {\n", systemAccount)
	writeUsers(&b, systemAccount, "", a.System)
	b.WriteString("  }\n")
	writeUsers(&b, calloutAccount, "", a.Callout)
	b.WriteString("  }\n")
	writeUsers(&b, Account, "    jetstream: enabled\n", a.Bridge, a.Admin)
	b.WriteString("    exports: [\n")
	for _, e := range consumerServices {
		fmt.Fprintf(&b, "      {service: %s, response: %s, accounts: [%s]}\n", quote(e.subject), e.response, ConsumerAccount)
	}
	fmt.Fprintf(&b, "    ]\n  }\n  %s {\n    imports: [\n", ConsumerAccount)
	for _, e := range consumerServices {
		fmt.Fprintf(&b, "      {service: {account: %s, subject: %s}}\n", Account, quote(e.subject))
	}
	b.WriteString("    ]\n  }\n}\n")
	var static []string
	for _, u := range []AccountUser{a.Bridge, a.Callout, a.System, a.Admin} {
		if u.Name != "" {
			static = append(static, quote(u.Name))
		}
	}
	fmt.Fprintf(&b, "authorization {\n  timeout: %d\n  auth_callout {\n    issuer: %s\n    account: %s\n    auth_users: [%s]\n    allowed_accounts: [%s, %s]\n  }\n}\n",
		authTimeout, a.Issuer, calloutAccount, strings.Join(static, ", "), Account, ConsumerAccount)
	return b.String()
}

// writeUsers opens the block of an account.
func writeUsers(b *strings.Builder, account, settings string, users ...AccountUser) {
	fmt.Fprintf(b, "  %s {\n%s    users: [\n", account, settings)
	for _, u := range users {
		if u.Name == "" {
			continue
		}
		fmt.Fprintf(b, "      {user: %s, password: %s", quote(u.Name), quote(u.Hash))
		if u.Types != "" {
			fmt.Fprintf(b, ", allowed_connection_types: [%s]", u.Types)
		}
		b.WriteString("}\n")
	}
	b.WriteString("    ]\n")
}

// accounts are those of the server inside the program: what the program itself
// connects as, nobody outside can be.
func (s settings) accounts() Accounts {
	const inside = "IN_PROCESS"
	return Accounts{
		Bridge:  AccountUser{bridgeUser, s.bridgeHash, inside},
		Callout: AccountUser{calloutUser, s.bridgeHash, inside},
		System:  AccountUser{systemUser, s.bridgeHash, inside},
		Admin:   AccountUser{adminUser, s.adminHash, inside + ", STANDARD"},
		Issuer:  s.issuer,
	}
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
