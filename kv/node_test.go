package kv

import (
	"maps"
	"slices"
	"testing"
)

func TestNodes(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	list := func() (ids map[string]Node) {
		t.Helper()
		nodes, err := s.Nodes.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ids = map[string]Node{}
		for _, n := range nodes {
			ids[n.ID] = n
		}
		now, err := s.Nodes.IDs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(now)
		if want := slices.Sorted(maps.Keys(ids)); !slices.Equal(now, want) {
			t.Errorf("IDs = %v, but List has %v", now, want)
		}
		return ids
	}
	if got := list(); len(got) != 0 {
		t.Errorf("List = %v before any registration", got)
	}
	a, b := Node{ID: "a", Host: "one", Version: "1", Started: then}, Node{ID: "b", Started: then}
	for _, n := range []Node{a, b, a} {
		if err := s.Nodes.Register(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); len(got) != 2 || got["a"] != a || got["b"] != b {
		t.Errorf("List = %v", got)
	}
	if err := s.Nodes.Remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) != 1 || got["b"] != b {
		t.Errorf("List = %v", got)
	}
	mustCreate(t, s, "a", "a")
	if n, err := s.Users.Count(ctx); n != 1 || err != nil {
		t.Errorf("Count = %d, %v; want 1, since a node is no user", n, err)
	}
	if users, _, err := s.Users.List(ctx, ListOptions{}); len(users) != 1 || err != nil {
		t.Errorf("List = %v, %v", users, err)
	}
}

// TestNodesStrike: a dead node is struck off the list, unless it has registered again. A node that renews its
// registration learns whether it was struck off meanwhile.
func TestNodesStrike(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	a := Node{ID: "a", Started: then}
	renew := func(earlier string, kept bool) string {
		t.Helper()
		r, err := s.Nodes.Renew(ctx, a, earlier)
		if err != nil || r.Kept != kept || !slices.Equal(r.Nodes["a"], []string{r.Registration}) {
			t.Errorf("Renew = %+v, %v; want kept %t", r, err, kept)
		}
		return r.Registration
	}
	strike := func(registration string, struck bool) {
		t.Helper()
		if got, err := s.Nodes.Strike(ctx, "a", []string{registration}); err != nil || got != struck {
			t.Errorf("Strike = %t, %v; want %t", got, err, struck)
		}
	}
	first := renew("", false)
	second := renew(first, true)
	strike(first, false)
	third := renew(second, true)
	strike(third, true)
	strike(third, true)
	if ids, err := s.Nodes.IDs(ctx); err != nil || len(ids) != 0 {
		t.Errorf("IDs = %v, %v", ids, err)
	}
	renew(third, false)
}
