package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// oldNode is a node of a version that announces no protocol: its registration has no suffix, and its commands have no
// sender.
type oldNode struct {
	nc           *nats.Conn
	id, key      string
	registration string
}

func (f *fixture) joinOld(t *testing.T, id string) *oldNode {
	t.Helper()
	o := &oldNode{nc: f.connect(t), id: id, registration: kv.NewID()[:16]}
	o.key = "$KV.im_users.node." + id + "." + o.registration
	o.answer(t)
	if _, err := o.nc.Request(o.key, []byte(`{"id":"`+id+`","started":"2026-01-02T03:04:05Z"}`), 20*time.Second); err != nil {
		t.Fatal(err)
	}
	o.hello(t)
	return o
}

// answer carries out commands as older versions do: with an empty report, and a status without a protocol.
func (o *oldNode) answer(t *testing.T) {
	t.Helper()
	if _, err := o.nc.Subscribe("im.node."+o.id, func(m *nats.Msg) {
		var r report
		if strings.Contains(string(m.Data), `"op":"status"`) {
			r.Status = &NodeStatus{Node: kv.Node{ID: o.id}, State: StateOK}
		}
		data, err := json.Marshal(r)
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			t.Errorf("answer of the old node: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := o.nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// hello tells a node that this one has registered.
func (o *oldNode) hello(t *testing.T) {
	t.Helper()
	if _, err := o.nc.Request("im.node.a", []byte(`{"op":"hello"}`), 20*time.Second); err != nil {
		t.Fatal(err)
	}
}

// leave removes the node from the list.
func (o *oldNode) leave(t *testing.T, f *fixture) {
	t.Helper()
	o.nc.Close()
	if err := f.store.Nodes.Remove(t.Context(), o.id); err != nil {
		t.Fatal(err)
	}
}

func (n *node) wantView(t *testing.T, what string, protocol int, ids ...string) {
	t.Helper()
	if got, p := n.View(); p != protocol || !slices.Equal(got, ids) {
		t.Errorf("%s: nodes %v speak %d, want %v and %d", what, got, p, ids, protocol)
	}
}

// TestView: the view has the nodes of both kinds of registrations, and the lowest protocol of all that are listed.
func TestView(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := f.join(t, "a")
	a.wantView(t, "alone", Protocol, "a")
	b := f.join(t, "b")
	a.wantView(t, "with b, which has told of itself", Protocol, "a", "b")
	b.wantView(t, "with a, which is on the list", Protocol, "a", "b")

	old := f.joinOld(t, "old")
	for _, n := range []*node{a, b} {
		if err := n.Broadcast(t.Context(), ClientConnected{User: "u"}); err != nil { // reads the list
			t.Fatal(err)
		}
		n.wantView(t, "with a node of an older version", 1, "a", "b", "old")
	}
	c := f.join(t, "c")
	c.wantView(t, "a node that joins later", 1, "a", "b", "c", "old")
	a.wantView(t, "a node that hears of the later one", 1, "a", "b", "c", "old")

	old.leave(t, f)
	if err := b.Leave(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := a.Broadcast(t.Context(), ClientConnected{User: "u"}); err != nil {
		t.Fatal(err)
	}
	a.wantView(t, "after they have left", Protocol, "a", "c")
}

// TestViewOfProcess: a process that is no node does not count itself.
func TestViewOfProcess(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.join(t, "a")
	f.joinOld(t, "old")
	outside := &node{Cluster: New(f.connect(t), f.store.Nodes, "im", slog.New(slog.DiscardHandler))}
	if err := outside.Broadcast(t.Context(), ClientConnected{User: "u"}); err != nil {
		t.Fatal(err)
	}
	outside.wantView(t, "from outside", 1, "a", "old")
}

// TestSpoken: a node that was replaced under its id counts as the older of what is known of it.
func TestSpoken(t *testing.T) {
	t.Parallel()
	const id, old = "n", "0123456789abcdef"
	for _, row := range []struct {
		what          string
		told          int // -1: nothing
		registrations []string
		want          int
	}{
		{"on the list", -1, []string{old + "-2"}, 2},
		{"on the list, of an older version", -1, []string{old}, 1},
		{"has told", 2, nil, 2},
		{"has told, of an older version", 0, nil, 1},
		{"has told, and is on the list", 2, []string{old + "-2"}, 2},
		{"registers again", 2, []string{old + "-2", "f" + old[1:] + "-2"}, 2},
		{"of a newer version", 7, []string{old + "-7"}, Protocol},
		{"was downgraded", 2, []string{old}, 1},
		{"is being downgraded", 1, []string{old + "-2"}, 1},
		{"has no valid number", -1, []string{old + "-x"}, 1},
	} {
		c := &Cluster{self: &kv.Node{ID: "self"}, peers: kv.Registrations{id: row.registrations}, told: make(map[string]int)}
		if row.told >= 0 {
			c.told[id] = row.told
		}
		c.look()
		if ids, got := c.View(); got != row.want || !slices.Equal(ids, []string{id, "self"}) {
			t.Errorf("a node that %s: %v speak %d, want %d", row.what, ids, got, row.want)
		}
		if got, want := c.patience(id), map[bool]time.Duration{true: strikeAfter, false: strangerAfter}[row.want < 2]; got != want {
			t.Errorf("a node that %s is struck off after %s, want %s", row.what, got, want)
		}
		delete(c.peers, id)
		c.look()
		if _, got := c.View(); got != Protocol || len(c.told) > 0 {
			t.Errorf("a node that %s has left: protocol %d, told %v", row.what, got, c.told)
		}
	}
}

// TestNodesTellProtocol: the state of all nodes has the protocol of each.
func TestNodesTellProtocol(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	a := f.join(t, "a")
	f.joinOld(t, "old")
	nodes, err := a.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, n := range nodes {
		got[n.ID] = n.Protocol
	}
	if len(got) != 2 || got["a"] != Protocol || got["old"] != 1 {
		t.Errorf("protocols: %v", got)
	}
}

// TestProtocolIsLogged: the log says when nodes of an older version come and go.
func TestProtocolIsLogged(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var log natstest.Log
	nc := f.connect(t)
	a := &node{Cluster: New(nc, f.store.Nodes, "im", slog.New(slog.NewTextHandler(&log, nil))), nc: nc}
	if err := a.Join(t.Context(), kv.Node{ID: "a", Started: time.Now().UTC()}, a); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var beating sync.WaitGroup
	beating.Go(func() { a.Heartbeat(ctx, func() bool { return true }, func() bool { return false }) })
	defer func() { cancel(); beating.Wait() }()
	await := func(words string) {
		t.Helper()
		deadline, tick := time.After(20*time.Second), time.NewTicker(10*time.Millisecond)
		defer tick.Stop()
		for !strings.Contains(log.String(), words) {
			select {
			case <-deadline:
				t.Fatalf("%q is not in the log:\n%s", words, log.String())
			case <-tick.C:
			}
		}
	}
	old := f.joinOld(t, "old")
	await("nodes of an older version are running")
	old.leave(t, f)
	await("all nodes speak the protocol of this version")
	if n := strings.Count(log.String(), "nodes of an older version") + strings.Count(log.String(), "all nodes speak"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, log.String())
	}
}
