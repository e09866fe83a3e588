package bridge

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/audit"
	"imctl/bridge/cluster"
	"imctl/bridge/eventlog"
	"imctl/bridge/governor"
	"imctl/bridge/hook"
	"imctl/bridge/identity"
	"imctl/bridge/im"
	"imctl/bridge/mailer"
	"imctl/bridge/natsauth"
	"imctl/bridge/natsutil"
	"imctl/bridge/tunnel"
	"imctl/bridge/webhook"
	"imctl/kv"
)

// Options configure a Bridge.
type Options struct {
	// Connect opens a connection to NATS. It keeps reconnecting while NATS is unreachable.
	Connect natsutil.Connect
	// NATSClients returns the number of NATS clients of this node. nil: NATS cannot tell.
	NATSClients func() int
	// Load returns what the node has done and uses, for administrators. nil: they are not told.
	Load func() *cluster.Load
	// Interest returns how many subscriptions match a subject, of this program's too. nil: NATS cannot tell.
	Interest func(subject string) int
	Moves    Moves  // nil: the connections stay on one NATS server
	Prefix   string // of all subjects
	Lanes    int    // 0: one for each processor
	// LoginBytes bounds the bytes of the answers to logins that are written in parts; nil: 64 MiB.
	LoginBytes tunnel.Budget
	Logins     int    // logins that read their user's data at once; 0: twice the number of processors
	Host       string // of this node, as administrators see it
	Version    string // of this program, as administrators see it
	// ShowVersion tells clients the version too.
	ShowVersion bool
	Node        string // id of this node, which no other one has had; "": a random one
	Ended       string // id of a node that is known to have ended, and may still be on the list of nodes; "": none

	Store  *kv.Store
	Hasher *kv.Hasher

	Sessions  Sessions
	Dialogues Dialogues
	Files     Files
	Governor  *governor.Governor // what clients, accounts and users may use; nil: no limits
	EventLog  eventlog.Options   // MaxAge, MaxBytes, Replicas, OnError, Plain and MayWrite; the bridge sets the rest
	// LogIdle is how long the program of a consumer may be away while the event log is nearly full; 0: for ever.
	LogIdle time.Duration
	Audit   audit.Options            // MaxAge, MaxBytes, Replicas and MayWrite; the bridge sets the rest
	Callout *natsauth.CalloutOptions // nil: another program decides which clients may log in to NATS
	Access  natsauth.Access          // of NATS clients if Callout is nil

	// ReadOnly, if set, returns the reason while durable writes are refused, and otherwise nil.
	ReadOnly func() error

	Registration im.Registration // which clients may register; "": all

	Identity Identity // who checks passwords

	AccountsShown im.AccountsShown // to whom accounts are shown; "": as im.AccountsExact

	Mailer *mailer.Mailer // of codes and notes; nil: no mail is sent

	Push Push // messages to devices

	OIDC     OIDC // where users of the page may sign in
	Webhooks webhook.Settings
	Hooks    hook.Options // Timeout, OnError and Ask; the bridge sets the rest

	Origins        []string       // of web pages, besides the server's own, that may call the server and open a WebSocket; see origin.Check
	TrustedProxies []netip.Prefix // proxies whose headers about clients are used

	GatewayUsers int           // of one gateway; 0: no limit
	GatewayLease time.Duration // see gateway.Options; 0: the default

	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Identity says who checks the passwords of users. The zero value is the server itself.
type Identity struct {
	Modes   []string         // names of package identity, in the order in which they are asked; nil: identity.Builtin
	Tokens  *identity.Tokens // of the mode identity.JWT; the bridge closes it
	Timeout time.Duration    // of a question to a program, in the mode identity.NATS
	MaxAge  time.Duration    // of the tokens of a user that signs in elsewhere; 0: as of all tokens
}

// Moves moves the connections to another NATS server. natslink.Link is one.
type Moves interface {
	// Server returns the name of the NATS server.
	Server() string
	// BeforeMove has prepare called before a planned move, and resume after it.
	BeforeMove(prepare func(context.Context) (resume func()))
}

// Sessions bound what one session, and one user, may hold.
type Sessions = tunnel.SessionOptions

// Push configures the messages to devices. Without a Subject none are sent.
type Push struct {
	Subject string         // contact of the operator for push services: a mailto: or https: URL
	Private bool           // push services may have addresses of private networks
	MaxAge  time.Duration  // how long a subscription is valid after the login with the password; 0: no limit
	RootCAs *x509.CertPool // verify the push services; nil: those of the system
}

// Dialogues configure the delivery of dialogues.
type Dialogues struct {
	Timeout time.Duration // without an answer by then, the sender gets 507

	Keep     bool // conversations are kept, in Store.Talks
	Receipts bool // a sender is told that its friend has read a dialogue or is typing
}

// Files configure files, which are in Store.Files.
type Files struct {
	Max   int64 // bytes of a file; 0: no files are taken
	Quota int64 // bytes of all files that a user has sent
	// MaxBytes is the size of Store.Files, for the metrics.
	MaxBytes int64
}
