package delivery

import (
	"io"
	"log/slog"
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
			a.add(&announcement{user: rest[:1], friends: []string{"x"}, online: rest[1] == '+'})
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

// TestAnnouncerOutdated has a user return while the announcer checks that it is offline. On the only node, its friends
// are told nothing. A panic of one check does not end the announcer.
func TestAnnouncerOutdated(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{true, false} {
		checks, answers, told := make(chan string), make(chan bool), make(chan string, 9)
		a := &announcer{lane: &lane{log: slog.New(slog.NewTextHandler(io.Discard, nil))}, alone: func() bool { return alone }, done: make(chan struct{}), of: make(map[string]int)}
		a.wake = sync.NewCond(&a.mu)
		a.offline = func(user string) bool {
			checks <- user
			if user == "c" {
				panic("a fault")
			}
			return <-answers
		}
		a.notify = func(n *announcement) { told <- n.user + map[bool]string{true: "+", false: "-"}[n.online] }
		go a.run()
		add := func(user string, online bool) {
			a.add(&announcement{user: user, friends: []string{"x"}, online: online})
		}
		add("c", false)
		<-checks
		add("a", false)
		<-checks
		add("a", true)
		add("b", true)
		if alone {
			answers <- true // at the time of the probe
		} else {
			answers <- false // it is online there
		}
		a.close()
		close(told)
		got := ""
		for s := range told {
			got += s
		}
		if want := map[bool]string{true: "b+", false: "a+b+"}[alone]; got != want {
			t.Errorf("alone %t: the friends are told %q, want %q", alone, got, want)
		}
	}
}
