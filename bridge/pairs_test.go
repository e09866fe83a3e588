package bridge

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// startPlainKeeping starts a node that keeps conversations on a single NATS server.
func startPlainKeeping(t *testing.T, natsURL string) *node {
	t.Helper()
	return startNode(t, natsURL, func(o *Options) {
		store, err := kv.Open(t.Context(), natstest.Connect(t, natsURL), kv.Options{Talks: &kv.TalksOptions{MaxAge: time.Hour, MaxBytes: 1 << 30}})
		if err != nil {
			t.Fatal(err)
		}
		o.Store, o.Dialogues.Keep, o.Dialogues.Timeout = store, true, time.Minute
		o.Sessions.Buffer = 4096
	})
}

// TestPairsOnTwoNodes: friends on two nodes talk both ways with 32 dialogues in flight each, with and without numbers, so
// that the commits of the nodes conflict. All dialogues are answered and arrive in order.
func TestPairsOnTwoNodes(t *testing.T) {
	t.Parallel()
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	nodes := []*node{startPlainKeeping(t, natsURL), startPlainKeeping(t, natsURL)}
	const pairs, window, each = 6, 32, 300
	users := nodes[0].users(t, "u", 2*pairs)
	type line struct {
		*stream
		code wire.Code
	}
	var lines []line
	for i := range pairs {
		nodes[0].befriend(t, users[2*i], users[2*i+1])
		var two [2]*session
		code := wire.Success
		for k, n := range nodes {
			u := users[2*i+k]
			query := url.Values{"account": {u.Account}, "password": {testPassword}}
			if i%2 == 1 {
				query.Set("keep", "1")
				code = wire.DialogueKept
			}
			two[k] = n.openWindow(t, query, window)
		}
		lines = append(lines, line{newStream(two[0], two[1]), code}, line{newStream(two[1], two[0]), code})
	}
	var sending sync.WaitGroup
	for _, l := range lines {
		sending.Go(func() {
			for range each {
				if _, err := l.from.send(l.to.id); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	sending.Wait()
	for i, l := range lines {
		wait(t, "answers", func() bool { return l.from.answered(l.code) == each || !l.from.alive() })
		if got := l.from.answered(l.code); got != each {
			t.Errorf("line %d: %d dialogues are answered %d, want %d: %v", i, got, l.code, each, l.from.err)
		}
		wait(t, "arrivals", func() bool { return len(l.to.from(l.from.id)) >= each || !l.to.alive() })
		for k, id := range l.to.from(l.from.id) {
			if id != k+1 {
				t.Errorf("line %d: dialogue %d arrived in place %d", i, id, k+1)
				break
			}
		}
	}
}

// liveTo delivers a dialogue that is not stored to a user, as the node of its sender does, and returns the reply.
func liveTo(t *testing.T, nc *nats.Conn, to, from string, id int) string {
	t.Helper()
	m := &nats.Msg{Subject: "im.user." + to + ".dialogue", Header: nats.Header{"Imctl-Live": {"1"}},
		Data: fmt.Appendf(nil, `{"id":"%d","from":"%s","payload":"live"}`, id, from)}
	reply, err := nc.RequestMsg(m, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return string(reply.Data)
}

// unanswered takes the outcome of a dialogue that a node stores after it was given up.
type unanswered struct{ stored chan uint64 }

func (u unanswered) Stored(d *kv.Dialogue, _ bool) { u.stored <- d.N }
func (u unanswered) Failed(error)                  { close(u.stored) }
func (u unanswered) Unstored(*kv.Dialogue)         { close(u.stored) }

// TestDoubtedByOtherNode: another node has stored a dialogue that its sender was told has failed. The friend has a later
// one, which is not stored. The friend is not sent the first one when it is found in the store, but each later one.
func TestDoubtedByOtherNode(t *testing.T) {
	t.Parallel()
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	n := startPlainKeeping(t, natsURL)
	users := n.users(t, "u", 2)
	n.befriend(t, users[0], users[1])
	a, b := n.login(t, users[0]), n.login(t, users[1])
	if code := a.say(t, b.id); code != wire.Success {
		t.Fatalf("before: got code %d", code)
	}
	lost, err := talk.Open(t.Context(), talk.Options{Connect: natstest.Dialer(natsURL), Talks: n.opts.Store.Talks, Cursors: n.opts.Store.Cursors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := lost.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	doubted := unanswered{make(chan uint64, 1)}
	if err := lost.Add(b.id, kv.Dialogue{From: a.id, ID: []byte(`"1000"`), Payload: []byte(`"x"`)}, doubted); err != nil {
		t.Fatal(err)
	}
	if got := <-doubted.stored; got != 2 {
		t.Fatalf("the doubtful dialogue has number %d, want 2", got)
	}
	nc := natstest.Connect(t, natsURL)
	if got := liveTo(t, nc, b.id, a.id, 2000); got != "" {
		t.Fatalf("the later dialogue is answered %s", got)
	}
	for range 3 {
		if code := a.say(t, b.id); code != wire.Success {
			t.Errorf("after: got code %d", code)
		}
	}
	want := fmt.Sprint([]int{1, 2000, 2, 3, 4})
	wait(t, "all dialogues", func() bool { return len(b.from(a.id)) >= 5 })
	if got := fmt.Sprint(b.from(a.id)); got != want {
		t.Errorf("arrived: %s, want %s", got, want)
	}
}

// TestLiveBehindGap: a session misses a number, and cannot read it from the store. Dialogues that are not stored pass after
// a moment, and nothing arrives twice or late when the store is back.
func TestLiveBehindGap(t *testing.T) {
	t.Parallel()
	cluster := natstest.StartCluster(t, 3)
	natsURL := cluster.Nodes[0].URL()
	n := startKeeping(t, natsURL)
	users := n.users(t, "u", 2)
	n.befriend(t, users[0], users[1])
	a, b := n.login(t, users[0]), n.login(t, users[1])
	if code := a.say(t, b.id); code != wire.Success {
		t.Fatalf("before: got code %d", code)
	}
	nc := natstest.Connect(t, natsURL)
	cluster.Nodes[1].Stop()
	cluster.Nodes[2].Stop()
	wait(t, "stalled", func() bool { a.say(t, b.id); return n.talks.Stalled() })
	gap := talk.Frame(&kv.Dialogue{N: 3, From: a.id, ID: []byte(`"999"`), Payload: []byte(`"x"`), At: time.Now()}, a.id).Append(nil)
	if err := nc.Publish("im.user."+b.id+".dialogue", gap); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	held := a.say(t, b.id) // held back and answered 507, unless this comes late
	wait(t, "a dialogue passes", func() bool { return a.say(t, b.id) == wire.Success })
	t.Logf("the first dialogue is answered %d, and one passes after %v", held, time.Since(began))
	cluster.Nodes[1].Restart(t)
	cluster.Nodes[2].Restart(t)
	wait(t, "no longer stalled", func() bool { return !n.talks.Stalled() })
	k := newStream(a, b)
	for range 20 {
		if code := a.say(t, b.id); code != wire.Success && code != wire.SendFailed {
			t.Errorf("after: got code %d", code)
		}
	}
	wait(t, "all dialogues are answered, and those answered 200 have arrived", k.settled)
	k.check(t)
}
