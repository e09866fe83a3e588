package bridge

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
)

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
	o.Server = natstest.Run(t, o.dir, -1)
	o.url, o.port = o.ClientURL(), o.Addr().(*net.TCPAddr).Port
	t.Cleanup(func() { natstest.Stop(o.Server) })
	return o
}

func (o *outageServer) stop() { natstest.Stop(o.Server) }

func (o *outageServer) restart(t testing.TB) {
	t.Helper()
	o.Server = natstest.Run(t, o.dir, o.port)
}

// consumer creates a durable pull consumer of the event log.
func consumer(t testing.TB, url, name string, filters ...string) jetstream.Consumer {
	t.Helper()
	js, err := jetstream.New(natstest.Connect(t, url))
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
	js, err := jetstream.New(natstest.Connect(t, url))
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
