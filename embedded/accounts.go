package embedded

import (
	"encoding/json"
	"fmt"
	"strings"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// The accounts of the NATS server. IM has all streams and subjects. AUTH receives the passwords of logins, and only
// the program subscribes there. SYS lists and closes connections.
//
// Programs that consume the log have an account of their own. It imports from IM only the requests that a consumer
// needs. In IM such a program could delete a stream: NATS checks which subjects a client publishes on, but not the
// reply subject of a request. A request with the reply subject $JS.API.STREAM.DELETE.<stream> would make JetStream
// publish its answer there. An import publishes answers in the account that made the request.
const (
	Account         = "IM"
	ConsumerAccount = "LOG"
	calloutAccount  = "AUTH"
	systemAccount   = "SYS"
)

// The users in the configuration of the embedded server.
const (
	bridgeUser  = "bridge"
	adminUser   = "admin"
	calloutUser = "auth"
	systemUser  = "sys"

	operatorUser = "imctl-system" // in the system account, for the operator's tools
)

// authTimeout is how long a login may take, in seconds. The password may wait in a queue to be hashed. The program
// decides before, or closes the connection.
const authTimeout = 10

type service struct{ subject, response string }

// readCalls are the calls that read users, friendships and presence, of all installations: subject.ReadImport.
const readCalls = "*.read.*.*"

// consumerServices returns the requests of a client that pulls from an existing consumer in a JetStream domain. They
// include $JS.API.INFO: without it NATS imports all of JetStream's API by default, and answers each request twice.
func consumerServices(domain string) []service {
	api := "$JS.API."
	all := []service{{api + "INFO", "singleton"}}
	if domain != "" {
		api = "$JS." + domain + ".API."
		all = append(all, service{api + "INFO", "singleton"})
	}
	return append(all,
		service{api + "CONSUMER.INFO.*.*", "singleton"},
		service{api + "CONSUMER.MSG.NEXT.*.*", "stream"},
		service{"$JS.ACK.>", "singleton"},
		service{readCalls, "singleton"})
}

// AccountUser is a user in the configuration of a NATS server.
type AccountUser struct {
	Name  string
	Hash  string // bcrypt hash of the password
	Types string // allowed connection types of NATS, separated by commas; "" for all
}

// Accounts are the accounts and users of a NATS server.
type Accounts struct {
	Bridge, Callout, System AccountUser
	Admin, Operator         AccountUser // of IM and of the system account, each omitted if its Name is empty
	Issuer                  string      // public key that verifies the callout's answers
	Domain                  string      // JetStream domain of the streams; "" for that of the server

	// Others are users of the default account, which the server has besides. The callout is not asked about them.
	Others []string
	// Anonymous, if set, is a user of the default account for clients without credentials.
	Anonymous string
	// OwnSystem tells that the server has a system account of its own.
	OwnSystem bool
}

// ConsumerServices returns the requests that the account of consumers imports: their subjects, and whether one request
// has several answers.
func ConsumerServices(domain string) (all []ConsumerService) {
	for _, s := range consumerServices(domain) {
		all = append(all, ConsumerService{s.subject, s.response == "stream"})
	}
	return all
}

// ConsumerService is a request that the account of consumers imports.
type ConsumerService struct {
	Subject string
	Stream  bool // one request has several answers
}

// Text returns the accounts as a part of a NATS server's configuration. The users in it do not go through the
// callout, and neither do users of other named accounts that the server may have.
func (a Accounts) Text() string {
	system := ""
	if !a.OwnSystem {
		system = fmt.Sprintf("system_account: %s\n", systemAccount)
	}
	anonymous := ""
	if a.Anonymous != "" {
		anonymous = fmt.Sprintf("no_auth_user: %s\n", quote(a.Anonymous))
	}
	return system + "accounts {\n" + a.AccountsText() + "}\n" + anonymous + "authorization {\n" + a.AuthorizationText() + "}\n"
}

// AccountsText returns the contents of the block accounts of a NATS server's configuration.
func (a Accounts) AccountsText() string {
	var b strings.Builder
	if !a.OwnSystem {
		writeUsers(&b, systemAccount, "", a.System, a.Operator)
		b.WriteString("  }\n")
	}
	writeUsers(&b, calloutAccount, "", a.Callout)
	b.WriteString("  }\n")
	writeUsers(&b, Account, "    jetstream: enabled\n", a.Bridge, a.Admin)
	b.WriteString("    exports: [\n")
	for _, e := range consumerServices(a.Domain) {
		fmt.Fprintf(&b, "      {service: %s, response: %s, accounts: [%s]}\n", quote(e.subject), e.response, ConsumerAccount)
	}
	fmt.Fprintf(&b, "    ]\n  }\n  %s {\n    imports: [\n", ConsumerAccount)
	for _, e := range consumerServices(a.Domain) {
		fmt.Fprintf(&b, "      {service: {account: %s, subject: %s}}\n", Account, quote(e.subject))
	}
	b.WriteString("    ]\n  }\n")
	return b.String()
}

// AuthorizationText returns the contents of the block authorization of a NATS server's configuration. NATS asks the
// callout about all users of the default account that are not in auth_users.
func (a Accounts) AuthorizationText() string {
	var b strings.Builder
	var static []string
	for _, u := range []AccountUser{a.Bridge, a.Callout, a.System, a.Admin, a.Operator} {
		if u.Name != "" {
			static = append(static, quote(u.Name))
		}
	}
	for _, name := range a.Others {
		static = append(static, quote(name))
	}
	fmt.Fprintf(&b, "  timeout: %d\n", authTimeout)
	if a.Anonymous != "" {
		static = append(static, quote(a.Anonymous))
		// NATS compares this password with itself, so it must not be a hash.
		fmt.Fprintf(&b, "  users: [\n    {user: %s, password: %s}\n  ]\n", quote(a.Anonymous), quote(a.Anonymous))
	}
	fmt.Fprintf(&b, "  auth_callout {\n    issuer: %s\n    account: %s\n    auth_users: [%s]\n    allowed_accounts: [%s, %s]\n  }\n",
		a.Issuer, calloutAccount, strings.Join(static, ", "), Account, ConsumerAccount)
	return b.String()
}

// writeUsers opens the block of an account and writes its settings and users. The caller closes the block.
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

// accounts returns the accounts of the embedded server. The users of the program can only connect within the process.
func (s settings) accounts() Accounts {
	const inProcess = "IN_PROCESS"
	return Accounts{
		Bridge:   AccountUser{bridgeUser, s.bridgeHash, inProcess},
		Callout:  AccountUser{calloutUser, s.bridgeHash, inProcess},
		System:   AccountUser{systemUser, s.bridgeHash, inProcess},
		Admin:    AccountUser{adminUser, s.adminHash, inProcess + ", STANDARD"},
		Operator: AccountUser{operatorUser, s.operatorHash, inProcess + ", STANDARD"},
		Issuer:   s.issuer,
	}
}

// StaticUsers returns the user names in the configuration of the embedded server. No other user can log in with one of
// them.
func StaticUsers() []string {
	return []string{bridgeUser, adminUser, calloutUser, systemUser, operatorUser}
}

// newIssuer makes the key that signs the callout's answers. Each process makes a new one, since an answer is only used
// while its connection is opened.
func newIssuer() (key nkeys.KeyPair, public string, err error) {
	if key, err = nkeys.CreateAccount(); err == nil {
		public, err = key.PublicKey()
	}
	if err != nil {
		return nil, "", fmt.Errorf("make the callout's key: %w", err)
	}
	return key, public, nil
}

// Callout is Connect for the callout, which answers logins, in the account for that purpose.
func (s *Server) Callout(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(name, calloutUser, s.secret, opts)
}

// System is Connect for the system account, which can list and close connections.
func (s *Server) System(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(name, systemUser, s.secret, opts)
}

// Interest returns how many subscriptions of the bridge's account match a subject, on this server and, by what it has
// heard, on others of its cluster.
func (s *Server) Interest(subject string) int {
	account, err := s.ns.Load().LookupAccount(Account)
	if err != nil {
		return 0 // the server is shutting down
	}
	return account.Interest(subject)
}

// Subscriptions returns the number of subscriptions on this server.
func (s *Server) Subscriptions() int { return int(s.ns.Load().NumSubscriptions()) }

// Connections returns the connections of an account to this server, as the monitoring of NATS lists them (connz), those
// with the highest figure first. order is "subs" or "pending".
func (s *Server) Connections(account, order string, limit int) ([]byte, error) {
	list, err := s.ns.Load().Connz(&natsserver.ConnzOptions{Account: account, Username: true, Sort: natsserver.SortOpt(order), Limit: limit})
	if err != nil {
		return nil, fmt.Errorf("list the connections to NATS: %w", err)
	}
	return json.Marshal(list)
}

// PutOff keeps the refused login of a connection out of the log of this server. The program closes such a connection
// before it answers: its credentials may be right.
func (s *Server) PutOff(server string, cid uint64) {
	if ns := s.ns.Load(); ns.ID() == server {
		s.clients.Load().ignore(cid)
	}
}

// Issuer returns the key that must sign the callout's answers.
func (s *Server) Issuer() nkeys.KeyPair { return s.issuer }
