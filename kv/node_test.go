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

// A dead node is evicted, unless it registers again meanwhile.
func TestNodesEvict(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	register := func() {
		t.Helper()
		if err := s.Nodes.Register(ctx, Node{ID: "a", Started: then}); err != nil {
			t.Fatal(err)
		}
	}
	register()
	for _, row := range []struct {
		what   string
		isDead func() bool
		left   int
	}{
		{"alive", func() bool { return false }, 1},
		{"registers again", func() bool { register(); return true }, 1},
		{"dead", func() bool { return true }, 0},
		{"evicted already", func() bool { t.Error("isDead was called for a missing node"); return true }, 0},
	} {
		if err := s.Nodes.Evict(ctx, "a", row.isDead); err != nil {
			t.Errorf("%s: %v", row.what, err)
		}
		if ids, err := s.Nodes.IDs(ctx); err != nil || len(ids) != row.left {
			t.Errorf("%s: IDs = %v, %v; want %d", row.what, ids, err, row.left)
		}
	}
}
