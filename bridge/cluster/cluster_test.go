package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// fixture is a NATS server with the buckets of an installation.
type fixture struct {
	url   string
	store *kv.Store
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{url: natstest.Start(t, t.TempDir(), -1).ClientURL()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	if f.store, err = kv.Open(ctx, f.connect(t), kv.Options{}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) connect(t *testing.T, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return natstest.Connect(t, f.url, opts...)
}

// node is a member of the cluster that notes the commands that it carries out.
type node struct {
	*Cluster
	nc *nats.Conn

	mu   sync.Mutex // guards seen
	seen []Command
}

func (f *fixture) join(t *testing.T, id string) *node {
	t.Helper()
	nc := f.connect(t)
	n := &node{Cluster: New(nc, f.store.Nodes, "im", slog.New(slog.DiscardHandler)), nc: nc}
	if err := n.Join(t.Context(), kv.Node{ID: id, Started: time.Now().UTC()}, n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) note(c Command) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, c)
}

// took reports whether the node has carried out a command.
func (n *node) took(c Command) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.seen, c)
}

func (n *node) RosterChanged(c RosterChanged)       { n.note(c) }
func (n *node) Befriended(Befriended)               {}
func (n *node) ProfileChanged(ProfileChanged)       {}
func (n *node) CloseSessions(CloseSessions)         {}
func (n *node) ClientConnected(c ClientConnected)   { n.note(c) }
func (n *node) NodeStarted(c NodeStarted)           { n.note(c) }
func (n *node) NodeLost()                           { n.note(nodeLost{}) }
func (n *node) ConsumerAttached()                   { n.note(consumerAttached{}) }
func (n *node) GatewayOpened(c GatewayOpened)       { n.note(c) }
func (n *node) GatewayChanged(c GatewayChanged)     { n.note(c) }
func (n *node) CheckState()                         { n.note(checkState{}) }
func (n *node) Disconnect(c Disconnect)             { n.note(c) }
func (n *node) Status() NodeStatus                  { return NodeStatus{Node: *n.self, State: StateOK} }
func (n *node) TakeTicket(hash string) []byte       { return []byte(n.self.ID + hash) }
func (n *node) ModeratorChanged(c ModeratorChanged) { n.note(c) }
func (n *node) ListSessions(ListSessions) []Session {
	return []Session{{ID: "s-" + n.self.ID, Node: n.self.ID, Since: n.self.Started}}
}

// TestBroadcast: a command is in force on every node, the sender included, when Broadcast returns.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := f.join(t, "a")
	if !a.Alone() {
		t.Error("the first node is not alone")
	}
	b := f.join(t, "b")
	if a.Alone() || b.Alone() {
		t.Errorf("two nodes, and a is alone: %t, b is alone: %t", a.Alone(), b.Alone())
	}
	if !a.took(NodeStarted{From: "b", Protocol: Protocol}) {
		t.Error("a did not hear of b")
	}
	c := RosterChanged{User: "u", Other: "v", Friend: true, Revision: 3}
	if err := b.Broadcast(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if !a.took(c) || !b.took(c) {
		t.Errorf("carried out by a: %t, by b: %t", a.took(c), b.took(c))
	}
	all, err := a.Sessions(t.Context(), ListSessions{})
	if err != nil || len(all) != 2 || all[0].ID != "s-a" || all[1].ID != "s-b" {
		t.Errorf("sessions: %v, %v", all, err)
	}
	nodes, err := b.Nodes(t.Context())
	if err != nil || len(nodes) != 2 || nodes[0].ID != "a" || nodes[1].State != StateOK {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	if err := b.Leave(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := a.Broadcast(t.Context(), c); err != nil || !a.Alone() {
		t.Errorf("after b left: %v, alone: %t", err, a.Alone())
	}
	if err := a.Leave(t.Context(), true); err != nil {
		t.Fatal(err)
	}
}

// TestCommandsWithoutNode: a process that is not a node sends commands and carries out none.
func TestCommandsWithoutNode(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := f.join(t, "a")
	outside := New(f.connect(t), f.store.Nodes, "im", slog.New(slog.DiscardHandler))
	c := ClientConnected{User: "u"}
	if err := outside.Broadcast(t.Context(), c); err != nil || !a.took(c) {
		t.Errorf("%v, carried out: %t", err, a.took(c))
	}
	if err := NotifyRestore(t.Context(), f.connect(t), "im", []string{"a", "ended"}); err != nil || !a.took(checkState{}) {
		t.Errorf("%v, carried out: %t", err, a.took(checkState{}))
	}
	if err := outside.Leave(t.Context(), true); err != nil {
		t.Error(err)
	}
}

// TestLostNode: a command strikes a crashed node off the list, and the heartbeat tells the others.
func TestLostNode(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a, b, c := f.join(t, "a"), f.join(t, "b"), f.join(t, "c")
	c.nc.Close() // a crash: it stays on the list
	always, never := func() bool { return true }, func() bool { return false }
	ctx, cancel := context.WithCancel(t.Context())
	var beating sync.WaitGroup
	beating.Go(func() { a.Heartbeat(ctx, always, never) })
	defer func() { cancel(); beating.Wait() }()
	deadline := time.After(20 * time.Second)
	for !a.took(nodeLost{}) || !b.took(nodeLost{}) {
		select {
		case <-deadline:
			t.Fatalf("told to a: %t, to b: %t", a.took(nodeLost{}), b.took(nodeLost{}))
		case <-time.After(10 * time.Millisecond):
		}
	}
	ids, err := f.store.Nodes.IDs(t.Context())
	slices.Sort(ids)
	if err != nil || !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("on the list: %v, %v", ids, err)
	}
}

// TestUnknownCommand: a node answers a command of a later version, so that the sender need not wait for the timeout.
func TestUnknownCommand(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.join(t, "a")
	m, err := f.connect(t).Request("im.node.a", []byte(`{"op":"later"}`), 10*time.Second)
	if err != nil || string(m.Data) != "{}" {
		t.Errorf("answer: %v, %v", m, err)
	}
}

// TestMonitor: a node that loses its connection is not fresh until it has caught up.
func TestMonitor(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	caughtUp, lost := make(chan struct{}), make(chan struct{}, 1)
	tries := 0
	m := NewMonitor(MonitorOptions{Log: slog.New(slog.DiscardHandler), CatchUp: func(context.Context) error {
		if tries++; tries == 1 {
			return errors.New("not yet")
		}
		<-caughtUp
		return nil
	}})
	t.Cleanup(m.Close)
	nc := f.connect(t, append(m.Options(), nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))...)
	m.OnLost(func(*nats.Conn) { lost <- struct{}{} })
	if m.Fresh() {
		t.Error("fresh before Start")
	}
	m.Start()
	if !m.Fresh() || m.Away() {
		t.Errorf("after Start: fresh %t, away %t", m.Fresh(), m.Away())
	}
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	<-lost
	if m.Fresh() {
		t.Error("fresh without a connection")
	}
	close(caughtUp)
	waitUntilFresh(t, m)
	if tries != 2 {
		t.Errorf("%d tries to catch up, want 2", tries)
	}
}

// TestMonitorLosesConnectionBeforeStart: a node that loses a connection during its start catches up before it is fresh.
func TestMonitorLosesConnectionBeforeStart(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	catchingUp, caughtUp, lost := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	m := NewMonitor(MonitorOptions{Log: slog.New(slog.DiscardHandler), CatchUp: func(context.Context) error {
		close(catchingUp)
		<-caughtUp
		return nil
	}})
	t.Cleanup(m.Close)
	nc := f.connect(t, m.Options()...)
	m.OnLost(func(*nats.Conn) { lost <- struct{}{} })
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	<-lost
	m.Start()
	if m.Fresh() {
		t.Error("fresh although a connection was lost during the start")
	}
	<-catchingUp
	if m.Fresh() {
		t.Error("fresh before it has caught up")
	}
	close(caughtUp)
	waitUntilFresh(t, m)
}

// waitUntilFresh waits until a monitor has caught up, which gives no signal.
func waitUntilFresh(t *testing.T, m *Monitor) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !m.Fresh() {
		select {
		case <-deadline:
			t.Fatal("it does not catch up")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
