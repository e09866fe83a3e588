package natsutil

import (
	"runtime"
	"sync"
	"weak"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// domains maps connections to their JetStream domains. The domain belongs to the connection, as its URL and credentials
// do: a restore, for instance, reads from the connection of one domain and writes to that of another. nats.Conn has no
// room for it. A connection without a domain has no entry.
var domains sync.Map // weak.Pointer[nats.Conn] to string

// SetDomain makes JetStream and API use the JetStream domain on a connection. "" is the domain of its server.
func SetDomain(nc *nats.Conn, domain string) {
	if domain == "" {
		return
	}
	key := weak.Make(nc)
	if _, again := domains.Swap(key, domain); !again {
		runtime.AddCleanup(nc, func(key weak.Pointer[nats.Conn]) { domains.Delete(key) }, key)
	}
}

// Domain returns the JetStream domain of a connection, "" for the domain of its server.
func Domain(nc *nats.Conn) string {
	if domain, ok := domains.Load(weak.Make(nc)); ok {
		return domain.(string)
	}
	return ""
}

// JetStream returns the JetStream of the connection's domain.
func JetStream(nc *nats.Conn, opts ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if domain := Domain(nc); domain != "" {
		return jetstream.NewWithDomain(nc, domain, opts...)
	}
	return jetstream.New(nc, opts...)
}

// API returns what the subjects of JetStream's API begin with in the connection's domain: "$JS.API.", or
// "$JS.<domain>.API.".
func API(nc *nats.Conn) string { return subject.API(Domain(nc)) }
