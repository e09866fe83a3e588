package delivery

import (
	"fmt"
	"testing"

	"imctl/kv"
)

// TestLateCommands: the change with the later revision wins, in whatever order changes arrive.
func TestLateCommands(t *testing.T) {
	t.Parallel()
	u := newUser("a", nil)
	u.LoadRoster(kv.Roster{Friends: []kv.Friend{{ID: "old"}}}, 10)
	for _, c := range []struct {
		id       string
		friend   bool
		revision uint64
		want     bool
	}{
		{"old", false, 9, true}, // older than the roster
		{"old", false, 12, false},
		{"old", true, 11, false},
		{"new", false, 14, false}, // users who are not friends
		{"new", true, 13, false},
		{"new", true, 15, true},
	} {
		u.ApplyRoster(c.id, Relation{Friend: c.friend}, c.revision)
		if got := u.relation([]byte(c.id)).Friend; got != c.want {
			t.Errorf("after %+v: friend is %t", c, got)
		}
	}
	if u.ended != 1 {
		t.Errorf("%d entries of ended friendships, want 1", u.ended)
	}
}

// TestEndedFriendshipsAreBounded: loading a roster drops entries of ended friendships that are not later than the
// roster.
func TestEndedFriendshipsAreBounded(t *testing.T) {
	t.Parallel()
	u := newUser("a", nil)
	u.LoadRoster(kv.Roster{Friends: []kv.Friend{{ID: "friend"}}}, 1)
	for i := range uint64(maxEnded) {
		u.ApplyRoster(fmt.Sprint("stranger ", i), Relation{}, 10+i)
	}
	if u.NeedsReload() {
		t.Errorf("needs a reload with %d ended friendships", maxEnded)
	}
	u.ApplyRoster("friend", Relation{}, 1000)
	if !u.NeedsReload() {
		t.Errorf("needs no reload with %d ended friendships", maxEnded+1)
	}
	u.LoadRoster(kv.Roster{}, 999)
	if u.ended != 1 || len(u.friends) != 1 || u.relation([]byte("friend")).Friend {
		t.Errorf("after an older roster: %v, %d of them ended; want only the last change", u.friends, u.ended)
	}
	u.LoadRoster(kv.Roster{}, 1000)
	if u.ended != 0 || len(u.friends) != 0 {
		t.Errorf("after a roster of the same revision: %v, %d of them ended", u.friends, u.ended)
	}
}
