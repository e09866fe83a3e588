package bridge

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// member starts a NATS server, which others could join where there is the name of a cluster.
func member(t *testing.T, cluster string) *nats.Conn {
	t.Helper()
	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}
	if cluster != "" {
		o.Cluster = natsserver.ClusterOpts{Name: cluster, Host: "127.0.0.1", Port: -1}
	}
	ns, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS is not ready")
	}
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// outcomes takes the codes of flights in the order in which they end.
type outcomes chan string

func (o outcomes) answered(f *flight, code wire.Code, _ time.Duration) {
	o <- string(f.id) + " " + code.Message()
}

func (o outcomes) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-o:
			if got != w {
				t.Errorf("got %s, want %s", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("waited in vain for %s", w)
		}
	}
}

// testFlights are flights on a connection, and what comes of them.
func testFlights(t *testing.T, nc *nats.Conn, alone bool) (*flights, outcomes) {
	t.Helper()
	var there atomic.Bool
	there.Store(alone)
	f := newFlights(nc, time.Minute, &there)
	in := make(chan *nats.Msg, 100)
	if err := f.subscribe(in); err != nil {
		t.Fatal(err)
	}
	go func() {
		for m := range in {
			f.reply(m)
		}
	}()
	t.Cleanup(func() { f.close(); nc.Close(); close(in) })
	return f, make(outcomes, 100)
}

func (f *flights) mustSend(t *testing.T, id string, o outcomes) {
	t.Helper()
	if err := f.send("friend", []byte(id), []byte(id), o); err != nil {
		t.Fatal(err)
	}
}

// TestAgain: who comes online a moment after a dialogue to it was sent gets it, and all that followed it, in order.
func TestAgain(t *testing.T) {
	t.Parallel()
	nc := member(t, "c")
	f, o := testFlights(t, nc, false)
	f.hold = time.Second
	f.mustSend(t, "1", o)
	f.mustSend(t, "2", o)
	f.mu.Lock()
	for len(f.held["friend"]) < 2 { // both found nobody
		f.mu.Unlock()
		runtime.Gosched()
		f.mu.Lock()
	}
	f.mu.Unlock()
	friend, err := nc.SubscribeSync("friend")
	if err != nil {
		t.Fatal(err)
	}
	f.mustSend(t, "3", o)
	for _, id := range []string{"1", "2", "3"} {
		m, err := friend.NextMsg(10 * time.Second)
		if err != nil || string(m.Data) != id {
			t.Fatalf("got %v, %v, want %s", m, err, id)
		}
		if err := m.Respond(nil); err != nil {
			t.Fatal(err)
		}
		o.want(t, id+" Success")
	}
}

// TestAgainOffline: nobody comes; and where no word can be under way nobody is waited for.
func TestAgainOffline(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what    string
		cluster string
		alone   bool
		waits   bool
	}{{"cluster", "c", false, true}, {"one server", "", false, false}, {"one node", "c", true, false}} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			f, o := testFlights(t, member(t, row.cluster), row.alone)
			began := time.Now()
			f.mustSend(t, "1", o)
			o.want(t, "1 "+wire.PeerOffline.Message())
			if took := time.Since(began); took >= crossing != row.waits {
				t.Errorf("answered after %s", took)
			}
		})
	}
}

// TestAgainOvertaken: a dialogue is not sent any more when a later one has met the friend, or may have.
func TestAgainOvertaken(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{true, false} {
		nc := member(t, "c")
		f, o := testFlights(t, nc, false)
		friend, err := nc.SubscribeSync("friend")
		if err != nil {
			t.Fatal(err)
		}
		f.mustSend(t, "1", o)
		f.mustSend(t, "2", o)
		var got []*nats.Msg
		for range 2 {
			m, err := friend.NextMsg(10 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m)
		}
		slot := slices.IndexFunc(f.slots, func(s flightSlot) bool { return string(s.flight.id) == "1" })
		if !f.retry(uint32(slot), f.slots[slot].round) { // as if nobody had been there for the first one
			t.Fatal("not held")
		}
		if answered {
			if err := got[1].Respond(nil); err != nil {
				t.Fatal(err)
			}
		}
		o.want(t, "1 "+wire.PeerOffline.Message())
		if answered {
			o.want(t, "2 Success")
		}
		if m, err := friend.NextMsg(2 * crossing); err == nil {
			t.Errorf("sent again: %s", m.Data)
		}
	}
}
