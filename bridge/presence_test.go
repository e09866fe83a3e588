package bridge

import (
	"sync"
	"testing"
)

// TestAnnouncer adds users who come (+) and go (-), and looks at what waits to be told.
func TestAnnouncer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		alone       bool
		added, left string
	}{
		{true, "a+", "a+"},
		{true, "a-a+", ""},
		{true, "a+a-", ""},
		{true, "a-b-a+", "b-"},
		{true, "a-a+a-", "a-"},
		{true, "a+a+", "a+"},
		// Another node may have told what this one did not yet, or may not tell what it leaves to this one.
		{false, "a-a+", "a-a+"},
		{false, "a+a-", "a+a-"},
		{false, "a+b+a-b-", "a+b+a-b-"},
		{false, "a-a+a-", "a-"},
		{false, "a-b-a+a-a+", "b-a-a+"},
		{false, "a-a-", "a-"},
	} {
		s := &Service{nodes: new(nodes)}
		s.nodes.alone.Store(row.alone)
		a := &announcer{service: s, of: make(map[string]int)}
		a.wake = sync.NewCond(&a.mu)
		for rest := row.added; rest != ""; rest = rest[2:] {
			a.add(announcement{user: rest[:1], friends: []string{"x"}, online: rest[1] == '+'})
		}
		got := ""
		for _, n := range a.waiting {
			got += n.user + map[bool]string{true: "+", false: "-"}[n.online]
		}
		if got != row.left {
			t.Errorf("alone %t, %s: %q waits, want %q", row.alone, row.added, got, row.left)
		}
		a.closed = true
		for range a.waiting {
			a.of[a.waiting[0].user]--
			a.waiting = a.waiting[1:]
		}
		for user, n := range a.of {
			if n != 0 {
				t.Errorf("alone %t, %s: %d of %s are counted", row.alone, row.added, n, user)
			}
		}
	}
}
