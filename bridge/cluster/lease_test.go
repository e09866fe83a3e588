package cluster

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// clusterFixture is a cluster of three NATS servers with a node on each.
type clusterFixture struct {
	*natstest.Cluster
	store *kv.Store // on a connection to all servers
	nodes []*leaseNode
}

// leaseNode is a node that sends heartbeats.
type leaseNode struct {
	*node
	lease  *Lease
	struck chan struct{}
}

func setUpCluster(t *testing.T) *clusterFixture {
	t.Helper()
	f := &clusterFixture{Cluster: natstest.StartCluster(t, 3)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	if f.store, err = kv.Open(ctx, natstest.Connect(t, f.URL()), kv.Options{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"a", "b", "c"} {
		f.nodes = append(f.nodes, f.join(t, i, id))
	}
	f.await(t, "all nodes know each other", func() bool {
		return !slices.ContainsFunc(f.nodes, func(n *leaseNode) bool { return !n.knows(f.nodes) })
	})
	return f
}

// join starts a node on server i alone: it does not move to another server.
func (f *clusterFixture) join(t *testing.T, i int, id string) *leaseNode {
	t.Helper()
	nc := natstest.Connect(t, f.Nodes[i].URL(), nats.IgnoreDiscoveredServers())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store, err := kv.Open(ctx, nc, kv.Options{Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	n := &leaseNode{node: &node{Cluster: New(nc, store.Nodes, "im", slog.New(slog.DiscardHandler)), nc: nc}, lease: NewLease(), struck: make(chan struct{}, 1)}
	n.Hold(n.lease, func() { signal(n.struck) })
	if err := n.Join(ctx, kv.Node{ID: id, Started: time.Now().UTC()}, n); err != nil {
		t.Fatal(err)
	}
	beat, stop := context.WithCancel(context.Background())
	var beating sync.WaitGroup
	beating.Go(func() { n.Heartbeat(beat, func() bool { return true }, func() bool { return false }) })
	t.Cleanup(func() {
		stop()
		beating.Wait()
		nc.Close()
		if err := n.Leave(context.Background(), false); err != nil && err != nats.ErrConnectionClosed {
			t.Error(err)
		}
	})
	return n
}

// knows reports whether all other nodes have answered n.
func (n *leaseNode) knows(all []*leaseNode) bool {
	n.mu2().Lock()
	defer n.mu2().Unlock()
	for _, other := range all {
		if other != n && !n.knownBy[other.self.ID] {
			return false
		}
	}
	return true
}

// mu2 is the mutex of the cluster: the test's node has one of its own.
func (n *leaseNode) mu2() *sync.Mutex { return &n.Cluster.mu }

// await waits for something that gives no signal.
func (f *clusterFixture) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("%s: it did not come to that", what)
		case <-tick.C:
		}
	}
}

// change broadcasts a command until it is answered. At that moment each node must have carried it out, or its lease has
// ended.
func (f *clusterFixture) change(t *testing.T, by *leaseNode, c Command) {
	t.Helper()
	f.await(t, "the change is answered", func() bool {
		if err := by.Broadcast(t.Context(), c); err != nil {
			t.Logf("%v", err)
			return false
		}
		for _, n := range f.nodes {
			if !n.took(c) && n.lease.Runs() {
				t.Errorf("node %s may still deliver without the change, although it was answered", n.self.ID)
			}
		}
		return true
	})
}

// TestChangeHolds: a change is answered only when each node has carried it out, or its lease has ended, whatever
// happens to a node and its server. The others keep their leases, and the node finds out that it was struck off.
func TestChangeHolds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what   string
		fail   func(*clusterFixture, *leaseNode)
		repair func(*testing.T, *clusterFixture)
	}{
		{"crash of a node", func(f *clusterFixture, n *leaseNode) { n.nc.Close() }, nil},
		{"a server hangs", func(f *clusterFixture, _ *leaseNode) { f.Nodes[2].Hang() }, func(_ *testing.T, f *clusterFixture) { f.Nodes[2].Resume() }},
		{"a server is cut off", func(f *clusterFixture, _ *leaseNode) { f.Nodes[2].Isolate() }, func(_ *testing.T, f *clusterFixture) { f.Nodes[2].Resume() }},
		{"a server is killed", func(f *clusterFixture, _ *leaseNode) { f.Nodes[2].Kill() }, func(t *testing.T, f *clusterFixture) { f.Nodes[2].Restart(t) }},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			f := setUpCluster(t)
			a, b, c := f.nodes[0], f.nodes[1], f.nodes[2]
			f.change(t, a, RosterChanged{User: "u", Revision: 1})
			row.fail(f, c)
			began := time.Now()
			f.change(t, a, RosterChanged{User: "u", Revision: 2})
			t.Logf("answered after %s", time.Since(began))
			f.await(t, "the lease of c has ended", func() bool { return !c.lease.Runs() })
			f.await(t, "the others are fresh", func() bool { return a.lease.Runs() && b.lease.Runs() })
			f.await(t, "the others are told", func() bool { return a.took(nodeLost{}) && b.took(nodeLost{}) })
			f.change(t, b, RosterChanged{User: "u", Revision: 3})
			if row.repair == nil {
				return
			}
			row.repair(t, f)
			f.await(t, "c is back", c.lease.Runs)
			select {
			case <-c.struck:
			default:
				t.Error("c has a lease again, and was not told that it was struck off")
			}
			f.change(t, c, RosterChanged{User: "u", Revision: 4})
			f.change(t, a, RosterChanged{User: "u", Revision: 5})
			if !c.took(RosterChanged{User: "u", Revision: 5}) {
				t.Error("c does not take part again")
			}
		})
	}
}

// TestReconnectWithinLease: a node that gets another connection within its lease keeps it, misses no change, and is not
// struck off.
func TestReconnectWithinLease(t *testing.T) {
	t.Parallel()
	f := setUpCluster(t)
	c := f.nodes[2]
	for i := range uint64(5) {
		if err := c.nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		change := RosterChanged{User: "u", Revision: i + 1}
		f.change(t, f.nodes[0], change)
		if !c.took(change) {
			t.Errorf("c has missed change %d", i)
		}
	}
	select {
	case <-c.struck:
		t.Error("c was struck off")
	default:
	}
}

// TestAskSkipsSilentNode: a command that needs no certainty does not wait for a node that does not listen.
func TestAskSkipsSilentNode(t *testing.T) {
	t.Parallel()
	f := setUpCluster(t)
	f.nodes[2].nc.Close()
	f.await(t, "c is not asked", func() bool {
		all, err := f.nodes[0].Sessions(t.Context(), ListSessions{})
		return err == nil && len(all) == 2
	})
	ids, err := f.store.Nodes.IDs(t.Context())
	if err != nil || len(ids) != 3 {
		t.Errorf("listed: %v, %v; want all three, since c may not be struck off yet", ids, err)
	}
}

// TestStrangerWaits: a node that another one has never answered does not strike it off as fast as the others do.
func TestStrangerWaits(t *testing.T) {
	t.Parallel()
	c := New(natstest.Connect(t, natstest.Start(t, t.TempDir(), -1).ClientURL()), nil, "im", slog.New(slog.DiscardHandler))
	c.self = &kv.Node{ID: "a"}
	if got := c.patience("b"); got != strangerAfter {
		t.Errorf("a stranger waits %s", got)
	}
	c.heard("b")
	if got := c.patience("b"); got != strikeAfter {
		t.Errorf("a node that b knows waits %s", got)
	}
}

// TestEndedNode: a node that is known to have ended is struck off at once, and the others are told.
func TestEndedNode(t *testing.T) {
	t.Parallel()
	f := setUpCluster(t)
	a, b, c := f.nodes[0], f.nodes[1], f.nodes[2]
	c.nc.Close()
	if err := a.Ended(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if ids, err := f.store.Nodes.IDs(t.Context()); err != nil || !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("listed: %v, %v", ids, err)
	}
	f.await(t, "the others are told", func() bool { return a.took(nodeLost{}) && b.took(nodeLost{}) })
	if err := a.Ended(t.Context(), "c"); err != nil {
		t.Errorf("a node that is not listed: %v", err)
	}
}

// TestLease: a lease ends by itself, and a renewal from an earlier time does not shorten it.
func TestLease(t *testing.T) {
	t.Parallel()
	l := NewLease()
	if l.Limited() || !l.Runs() {
		t.Error("a node on a single server needs a lease")
	}
	now := time.Now()
	l.extend(now.Add(time.Hour))
	l.extend(now)
	if !l.Limited() || !l.Runs() {
		t.Error("an earlier renewal has shortened the lease")
	}
	l.lift()
	l.extend(now.Add(-leaseTime))
	if !l.Limited() || l.Runs() {
		t.Error("the lease does not end")
	}
}
