package bridge

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/audit"
	"imctl/bridge/eventlog"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/mailer"
	"imctl/bridge/natsauth"
	"imctl/bridge/natsutil"
	"imctl/bridge/tunnel"
	"imctl/kv"
)

// Options configure a Bridge.
type Options struct {
	// Connect opens a connection to NATS. It keeps reconnecting while NATS is unreachable.
	Connect natsutil.Connect
	// Interest returns how many subscriptions match a subject, of this program's too. nil: NATS cannot tell.
	Interest func(subject string) int
	Prefix   string // of all subjects
	Lanes    int    // 0: one for each processor
	// LoginBytes bounds the bytes of the answers to logins that are written in parts; nil: 64 MiB.
	LoginBytes tunnel.Budget
	Logins     int    // logins that read their user's data at once; 0: twice the number of processors
	Host       string // of this node, as administrators see it
	Version    string // of this program, as administrators see it

	Store  *kv.Store
	Hasher *kv.Hasher

	Sessions  Sessions
	Dialogues Dialogues
	Governor  *governor.Governor       // what clients, accounts and users may use; nil: no limits
	EventLog  eventlog.Options         // MaxAge, MaxBytes, Replicas, OnError, Plain and MayWrite; the bridge sets the rest
	Audit     audit.Options            // MaxAge, MaxBytes, Replicas and MayWrite; the bridge sets the rest
	Callout   *natsauth.CalloutOptions // nil: another program decides which clients may log in to NATS
	Access    natsauth.Access          // of NATS clients if Callout is nil

	// ReadOnly, if set, returns the reason while durable writes are refused, and otherwise nil.
	ReadOnly func() error

	Registration im.Registration // which clients may register; "": all

	Mailer *mailer.Mailer // of codes and notes; nil: no mail is sent

	Origins        []string       // origins of web pages, besides the server's own, that may open a WebSocket
	TrustedProxies []netip.Prefix // proxies whose X-Forwarded-For header is used

	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Sessions bound what one session, and one user, may hold.
type Sessions = tunnel.SessionOptions

// Dialogues configure the delivery of dialogues.
type Dialogues struct {
	Timeout time.Duration // without an answer by then, the sender gets 507

	Keep     bool // conversations are kept, in Store.Talks
	Receipts bool // a sender is told that its friend has read a dialogue or is typing
}
