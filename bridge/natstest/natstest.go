// Package natstest has what tests of several packages need of NATS: a server in the process, connections to it, and a log
// that a test reads while a server writes it. Only tests import it.
package natstest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Run runs a NATS server with JetStream in dir, which syncs every write. It listens on a free port for port -1. The caller
// calls Stop.
func Run(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{ServerName: "test", Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir,
		SyncAlways: true, JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		Stop(s)
		t.Fatal("the NATS server did not start")
	}
	return s
}

// Stop stops a server, and returns after its files are closed.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Start is Run with a server that stops at the end of the test.
func Start(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s := Run(t, dir, port)
	t.Cleanup(func() { Stop(s) })
	return s
}

// Dialer returns a function that connects to the server at url. Its connections reconnect until they are closed.
func Dialer(url string) func(name string, opts ...nats.Option) (*nats.Conn, error) {
	return func(name string, opts ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(url, append([]nats.Option{nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond),
			nats.ReconnectJitter(time.Millisecond, time.Millisecond)}, opts...)...)
	}
}

// Connect returns a connection that is closed at the end of the test.
func Connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := Dialer(url)("test", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Log is a log that a test reads while a server writes it.
type Log struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns everything that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// portOf returns the port of a TCP address.
func portOf(a net.Addr) int { return a.(*net.TCPAddr).Port }
