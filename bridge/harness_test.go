package bridge

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// runServer runs a NATS server in this process that takes clients by TCP, on a free port for port -1. The caller stops it.
func runServer(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{ServerName: "test", Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir,
		SyncAlways: true, JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		stopServer(s)
		t.Fatal("the NATS server did not start")
	}
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// startServer is runServer with a server that stops at the end of the test.
func startServer(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s := runServer(t, dir, port)
	t.Cleanup(func() { stopServer(s) })
	return s
}

// outageServer is a NATS server that goes away and comes back on the same port, with the same directory.
type outageServer struct {
	url  string
	dir  string
	port int
	*server.Server
}

func startOutageServer(t testing.TB) *outageServer {
	t.Helper()
	o := &outageServer{dir: t.TempDir()}
	o.Server = runServer(t, o.dir, -1)
	o.url, o.port = o.ClientURL(), o.Addr().(*net.TCPAddr).Port
	t.Cleanup(func() { stopServer(o.Server) })
	return o
}

func (o *outageServer) stop() { stopServer(o.Server) }

func (o *outageServer) restart(t testing.TB) {
	t.Helper()
	o.Server = runServer(t, o.dir, o.port)
}

// dialer connects to a server's URL and goes on trying when it is away.
func dialer(url string) func(string, ...nats.Option) (*nats.Conn, error) {
	return func(name string, opts ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(url, append([]nats.Option{nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond),
			nats.ReconnectJitter(time.Millisecond, time.Millisecond)}, opts...)...)
	}
}

func connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := dialer(url)("test", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// consumer creates a durable pull consumer of the event log.
func consumer(t testing.TB, url, name string, filters ...string) jetstream.Consumer {
	t.Helper()
	js, err := jetstream.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateConsumer(t.Context(), "IM_LOG", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy,
		FilterSubjects: filters, MaxAckPending: 100_000, AckWait: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wait calls done until it is true. What it waits for gives no signal.
func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("%s: it did not come to that", what)
		case <-tick.C:
		}
	}
}

// state returns the state of the event log's stream.
func state(t testing.TB, url string) jetstream.StreamState {
	t.Helper()
	js, err := jetstream.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(context.Background(), "IM_LOG")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State
}

// fetch takes n messages and acknowledges them.
func fetch(t testing.TB, c jetstream.Consumer, n int) <-chan jetstream.Msg {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan jetstream.Msg, n)
	for m := range batch.Messages() {
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
		out <- m
	}
	close(out)
	return out
}
