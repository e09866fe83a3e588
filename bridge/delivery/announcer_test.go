package delivery

import (
	"sync"
	"testing"
)

// TestAnnouncer adds announcements of users that come online (+) and go offline (-), and checks the queue.
func TestAnnouncer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		alone         bool
		added, queued string
	}{
		{true, "a+", "a+"},
		{true, "a-a+", ""},
		{true, "a+a-", ""},
		{true, "a-b-a+", "b-"},
		{true, "a-a+a-", "a-"},
		{true, "a+a+", "a+"},
		// Another node may have made an announcement that this one has not, or may leave one to it.
		{false, "a-a+", "a-a+"},
		{false, "a+a-", "a+a-"},
		{false, "a+b+a-b-", "a+b+a-b-"},
		{false, "a-a+a-", "a-"},
		{false, "a-b-a+a-a+", "b-a-a+"},
		{false, "a-a-", "a-"},
	} {
		a := &announcer{alone: func() bool { return row.alone }, of: make(map[string]int)}
		a.wake = sync.NewCond(&a.mu)
		for rest := row.added; rest != ""; rest = rest[2:] {
			a.add(announcement{user: rest[:1], friends: []string{"x"}, online: rest[1] == '+'})
		}
		got := ""
		for _, n := range a.queue {
			got += n.user + map[bool]string{true: "+", false: "-"}[n.online]
		}
		if got != row.queued {
			t.Errorf("alone %t, %s: the queue is %q, want %q", row.alone, row.added, got, row.queued)
		}
		a.closed = true
		for range a.queue {
			a.of[a.queue[0].user]--
			a.queue = a.queue[1:]
		}
		for user, n := range a.of {
			if n != 0 {
				t.Errorf("alone %t, %s: the count is %d for %s, want 0", row.alone, row.added, n, user)
			}
		}
	}
}
