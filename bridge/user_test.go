package bridge

import (
	"errors"
	"fmt"
	"testing"

	"imctl/kv"
)

// TestLateCommands: of two commands the one with the later revision wins, in whatever order they arrive.
func TestLateCommands(t *testing.T) {
	t.Parallel()
	u := newUser("a", nil)
	u.load(kv.Roster{Friends: []kv.Friend{{ID: "old"}}}, 10)
	for _, c := range []struct {
		id       string
		friend   bool
		revision uint64
		want     bool
	}{
		{"old", false, 9, true}, // before the roster
		{"old", false, 12, false},
		{"old", true, 11, false},
		{"new", false, 14, false}, // of two who are no friends
		{"new", true, 13, false},
		{"new", true, 15, true},
	} {
		u.apply(c.id, c.friend, c.revision)
		if got := u.isFriend([]byte(c.id)); got != c.want {
			t.Errorf("behind %+v it is a friend: %t", c, got)
		}
	}
	if u.ended != 1 {
		t.Errorf("%d entries that are no friends, want 1", u.ended)
	}
}

// TestStrangersAreBounded: loading a roster drops entries of ended friendships that are not later than the roster.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	u := newUser("a", nil)
	u.load(kv.Roster{Friends: []kv.Friend{{ID: "friend"}}}, 1)
	for i := range uint64(endedMost) {
		u.apply(fmt.Sprint("stranger ", i), false, 10+i)
	}
	if u.crowded() {
		t.Errorf("crowded with %d strangers", endedMost)
	}
	u.apply("friend", false, 1000)
	if !u.crowded() {
		t.Errorf("not crowded with %d", endedMost+1)
	}
	u.load(kv.Roster{}, 999)
	if u.ended != 1 || len(u.friends) != 1 || u.isFriend([]byte("friend")) {
		t.Errorf("an older roster left %v, %d of them ended; want the last one alone", u.friends, u.ended)
	}
	u.load(kv.Roster{}, 1000)
	if u.ended != 0 || len(u.friends) != 0 {
		t.Errorf("a roster as late left %v, %d of them ended", u.friends, u.ended)
	}
}

// TestRemovingStrangers: a client that repeatedly removes users who are no friends does not fill the memory, and keeps
// its friend.
func TestRemovingStrangers(t *testing.T) {
	t.Parallel()
	s := logServer(t, t.TempDir(), -1)
	b := startBridge(t, s.ClientURL(), EventLogOptions{})
	id, friend := pair(t, b, logConn(t, s.ClientURL()), 0)
	l := b.lane(id)
	u := newUser(id, l)
	if err := b.reloadRoster(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.users[id] = u
	l.mu.Unlock()
	for range 2*endedMost + 10 {
		if err := b.service.Remove(t.Context(), kv.User{ID: id}, kv.NewID()); !errors.Is(err, kv.ErrNotFriends) {
			t.Fatal(err)
		}
	}
	u.mu.RLock()
	defer u.mu.RUnlock()
	if n := len(u.friends); n > endedMost+1 || !u.friends[friend].friend {
		t.Errorf("%d entries, and the friend is one: %t", n, u.friends[friend].friend)
	}
}
