package kv

import (
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
		return ids
	}
	if got := list(); len(got) != 0 {
		t.Errorf("nobody registered, and listed are %v", got)
	}
	a, b := Node{ID: "a", Host: "one", Version: "1", Started: then}, Node{ID: "b", Started: then}
	for _, n := range []Node{a, b, a} {
		if err := s.Nodes.Register(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); len(got) != 2 || got["a"] != a || got["b"] != b {
		t.Errorf("listed are %v", got)
	}
	if err := s.Nodes.Remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) != 1 || got["b"] != b {
		t.Errorf("listed are %v", got)
	}
	mustCreate(t, s, "a", "a")
	if n, err := s.Users.Count(ctx); n != 1 || err != nil {
		t.Errorf("Count = %d, %v; want 1: a node is no user", n, err)
	}
	if users, _, err := s.Users.List(ctx, ListOptions{}); len(users) != 1 || err != nil {
		t.Errorf("List = %v, %v", users, err)
	}
}
