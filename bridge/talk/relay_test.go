package talk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// nodes are the ids of nodes that relay, unless old is set.
type nodes struct {
	ids atomic.Pointer[[]string]
	old atomic.Bool // one of them is of an older version
}

func (n *nodes) set(ids ...string)     { n.ids.Store(&ids) }
func (n *nodes) all() ([]string, bool) { return *n.ids.Load(), !n.old.Load() }

func startRelay(t testing.TB, url, node string, n *nodes, o Options, opts ...nats.Option) *Relay {
	t.Helper()
	s := startService(t, url, o)
	r, err := NewRelay(s, RelayOptions{Prefix: "im", Node: node, Nodes: n.all, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Connect: func(name string, more ...nats.Option) (*nats.Conn, error) {
			return natstest.Dialer(url)(name, append(opts, more...)...)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.ctx.Err() == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := r.Close(ctx); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
	return r
}

// pairOf returns a conversation with idA whose home is that node, "" for the relay's own.
func (r *Relay) pairOf(t testing.TB, home string) (to string) {
	t.Helper()
	for i := range 100 {
		to = fmt.Sprintf("%032x", i+1)
		if r.homeOf(kv.PairOf(idA, to), r.nodes()) == home {
			return to
		}
	}
	t.Fatalf("no conversation has the home %s", home)
	return ""
}

// TestRelay: friends on two nodes write at the same time. No commit conflicts, the order of each sender holds, and all
// numbers are used once.
func TestRelay(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	var n nodes
	n.set("one", "two")
	relays := []*Relay{startRelay(t, url, "one", &n, Options{}), startRelay(t, url, "two", &n, Options{})}
	const friends, each = 8, 100
	var all sync.WaitGroup
	for f := range friends {
		friend := fmt.Sprintf("%032x", f+1)
		outcomes := [2]result{make(result, each), make(result, each)}
		for i, r := range relays {
			from, to := idA, friend
			if i == 1 {
				from, to = friend, idA
			}
			all.Go(func() {
				for k := range each {
					d := say(from, fmt.Sprint(k))
					d.Kept = f%2 == 0
					if err := r.Add(to, d, outcomes[i]); err != nil {
						t.Errorf("Add: %v", err)
						return
					}
				}
			})
		}
		all.Go(func() {
			used := make(map[uint64]bool)
			for _, o := range outcomes {
				last := uint64(0)
				for k := range each {
					got := <-o
					if got.err != nil || got.again || got.d.N <= last || string(got.d.ID) != fmt.Sprintf("%q", fmt.Sprint(k)) || got.d.At.IsZero() {
						t.Errorf("dialogue %d: %+v after number %d", k, got, last)
						return
					}
					last = got.d.N
					used[last] = true
				}
			}
			for k := range uint64(2 * each) {
				if !used[k+1] {
					t.Errorf("number %d is not used", k+1)
				}
			}
		})
	}
	all.Wait()
	for _, r := range relays {
		if c := counter(t, r.Service, "imctl_dialogues_conflicts_total", ""); c != 0 {
			t.Errorf("%v conflicts on node %s", c, r.opts.Node)
		}
	}
}

// TestRelayOutcomes: what the home of a conversation refuses, or has stored before, comes back as it does from a Service.
func TestRelayOutcomes(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	var n nodes
	n.set("one", "two")
	one := startRelay(t, url, "one", &n, Options{})
	startRelay(t, url, "two", &n, Options{})
	for _, home := range []string{"", "two"} {
		to := one.pairOf(t, home)
		send := func(d kv.Dialogue) outcome {
			o := make(result, 1)
			if err := one.Add(to, d, o); err != nil {
				t.Fatal(err)
			}
			return <-o
		}
		first, second := send(say(idA, "x")), send(say(idA, "x"))
		if first.err != nil || second.err != nil || first.again || !second.again || first.d.N != 1 || second.d.N != 1 || !first.d.At.Equal(second.d.At) {
			t.Errorf("home %q: %+v, then %+v", home, first, second)
		}
		wrong := say(idA, "y")
		wrong.Deletes = 7
		if got := send(wrong); got.err == nil || !strings.Contains(got.err.Error(), "403") && fmt.Sprintf("%T", got.err) != "wire.Code" {
			t.Errorf("home %q: deletion of a dialogue that does not exist: %v", home, got.err)
		}
		reply := say(idA, "z")
		reply.Re = 1
		if got := send(reply); got.err != nil || got.d.N != 2 || got.d.Re != 1 {
			t.Errorf("home %q: reply: %+v", home, got)
		}
	}
}

// TestRelayHomeAway: a dialogue whose home does not listen is stored here.
func TestRelayHomeAway(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	var n nodes
	n.set("one", "two")
	one := startRelay(t, url, "one", &n, Options{})
	to, outcomes := one.pairOf(t, "two"), make(result, 50)
	for i := range cap(outcomes) {
		d := say(idA, fmt.Sprint(i))
		d.Kept = false
		if err := one.Add(to, d, outcomes); err != nil {
			t.Fatal(err)
		}
	}
	for i := range cap(outcomes) {
		if got := <-outcomes; got.err != nil || got.d.N != uint64(i+1) || string(got.d.ID) != fmt.Sprintf("%q", fmt.Sprint(i)) {
			t.Fatalf("dialogue %d: %+v", i, got)
		}
	}
}

// TestRelayHomeLost: a home takes dialogues, stores them, and is lost before it answers. The dialogues of clients that
// keep conversations are stored once. The others are refused, since their ids do not tell whether they are stored.
func TestRelayHomeLost(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	var n nodes
	n.set("one", "two")
	one := startRelay(t, url, "one", &n, Options{})
	lost := startService(t, url, Options{})
	nc := natstest.Connect(t, url)
	kept := make(result, 3)
	var taken sync.WaitGroup
	taken.Add(2)
	if _, err := nc.Subscribe("im.home.two", func(m *nats.Msg) {
		err := decodeRelayed(m.Data, func(_ uint64, to string, d kv.Dialogue) {
			if err := lost.Add(to, d, kept); err != nil {
				t.Error(err)
			}
			taken.Done()
		})
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	to, outcomes, plain := one.pairOf(t, "two"), make(result, 2), make(result, 1)
	d := say(idA, "kept")
	if err := one.Add(to, d, outcomes); err != nil {
		t.Fatal(err)
	}
	d.Kept = false
	if err := one.Add(to, d, plain); err != nil {
		t.Fatal(err)
	}
	taken.Wait()
	<-kept
	<-kept
	n.set("one")
	if err := one.Add(to, say(idA, "later"), outcomes); err != nil {
		t.Fatal(err)
	}
	if got := <-outcomes; got.err != nil || got.d.N != 1 || got.again {
		t.Errorf("kept dialogue: %+v, want the stored one, as new", got)
	}
	if got := <-outcomes; got.err != nil || got.d.N != 3 {
		t.Errorf("later dialogue: %+v", got)
	}
	if got := <-plain; got.err != errHomeLost {
		t.Errorf("the other dialogue: %+v, want %v", got, errHomeLost)
	}
}

// TestRelayHomeCrashes: a home takes dialogues, and crashes. The next dialogue finds that it does not listen, while the
// home is still listed. It does not overtake those before it.
func TestRelayHomeCrashes(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	var n nodes
	n.set("one", "two")
	one := startRelay(t, url, "one", &n, Options{})
	nc := natstest.Connect(t, url)
	sub, err := nc.SubscribeSync("im.home.two")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	to, outcomes := one.pairOf(t, "two"), make(result, 3)
	for i := range cap(outcomes) {
		if err := one.Add(to, say(idA, fmt.Sprint(i)), outcomes); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			continue
		}
		if _, err := sub.NextMsg(time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(sub.Unsubscribe(), nc.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range cap(outcomes) {
		if got := <-outcomes; got.err != nil || got.d.N != uint64(i+1) || string(got.d.ID) != fmt.Sprintf("%q", fmt.Sprint(i)) {
			t.Fatalf("dialogue %d: %+v", i, got)
		}
	}
}

// TestRelayClose: what other nodes have sent is committed and answered before a node ends.
func TestRelayClose(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	var n nodes
	n.set("one", "two")
	one, two := startRelay(t, url, "one", &n, Options{}), startRelay(t, url, "two", &n, Options{})
	to, outcomes := one.pairOf(t, "two"), make(result, 200)
	for i := range cap(outcomes) {
		d := say(idA, fmt.Sprint(i))
		d.Kept = false
		if err := one.Add(to, d, outcomes); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := two.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range cap(outcomes) {
		if got := <-outcomes; got.err != nil || got.d.N != uint64(i+1) {
			t.Fatalf("dialogue %d: %+v", i, got)
		}
	}
}

// TestRelayWithOlderNode: while a node of an older version is listed, each node commits what its users send, and no
// dialogue is delivered before it is stored.
func TestRelayWithOlderNode(t *testing.T) {
	t.Parallel()
	var n nodes
	n.set("one", "two")
	var full atomic.Bool
	r := startRelay(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), "one", &n, Options{MayWrite: func() error {
		if full.Load() {
			return errTest
		}
		return nil
	}})
	elsewhere := r.pairOf(t, "two")
	full.Store(true)
	if err := r.Add(idB, plainly(idA, "live"), make(result, 1)); !errors.Is(err, ErrStalled) || !r.Stalled() {
		t.Errorf("nodes of this version: %v, stalled %t", err, r.Stalled())
	}
	n.old.Store(true)
	if err := r.Add(idB, plainly(idA, "not live"), make(result, 1)); !errors.Is(err, errTest) || r.Stalled() {
		t.Errorf("a node of an older version: %v, stalled %t", err, r.Stalled())
	}
	full.Store(false)
	for i, d := range []kv.Dialogue{say(idA, "kept"), plainly(idA, "plain")} { // the node "two" does not exist
		done := make(result, 1)
		if err := r.Add(elsewhere, d, done); err != nil {
			t.Fatal(err)
		}
		if o := <-done; o.err != nil || o.d.N != uint64(i+1) {
			t.Errorf("dialogue %d: %+v", i, o)
		}
	}
}

func FuzzRelayed(f *testing.F) {
	e := &relayed{token: 7, pair: kv.PairOf(idA, idB), to: idB, d: say(idA, "x")}
	f.Add(appendRelayed(appendRelayed(nil, e), e))
	f.Add(appendAnswer(appendAnswer(nil, answer{token: 1, n: 2, at: time.UnixMilli(3)}), answer{token: 4, err: errRefusedThere}))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_ = decodeRelayed(data, func(uint64, string, kv.Dialogue) {})
		_ = decodeAnswers(data, func(answer) {})
	})
}
