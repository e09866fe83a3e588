package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
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

// TestChangeDuringLogin: a change of a roster that arrives between the time when a login reads the roster and the time
// when the session joins is in force in the session, whether it is in the roster that was read or not.
func TestChangeDuringLogin(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t, t.TempDir(), -1)
	lanes, err := New(Options{Connect: natstest.Dialer(srv.ClientURL()), Prefix: "im", Timeout: time.Minute, Alone: func() bool { return true },
		Metrics: NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lanes.Close)
	lanes.ApplyRoster("u", "earlier", Relation{Friend: true}, 3)
	end, other := lanes.Expect("u"), lanes.Expect("u")
	lanes.ApplyRoster("u", "read", Relation{}, 4) // and is a friend again by revision 5
	lanes.ApplyRoster("u", "added", Relation{Friend: true}, 6)
	lanes.ApplyRoster("u", "removed", Relation{}, 7)
	lanes.ApplyRoster("other", "stranger", Relation{Friend: true}, 8)
	end()
	m := NewMember(nil, false, false)
	read := kv.Roster{Friends: []kv.Friend{{ID: "read"}, {ID: "removed"}}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := lanes.Join(ctx, "u", m, read, 5); err != nil {
		t.Fatal(err)
	}
	other()
	for id, want := range map[string]bool{"earlier": false, "read": true, "added": true, "removed": false, "stranger": false} {
		if got := m.Relation([]byte(id)).Friend; got != want {
			t.Errorf("%s: friend is %t, want %t", id, got, want)
		}
	}
	if n := len(lanes.of("u").expected); n != 0 {
		t.Errorf("%d users are expected after all logins", n)
	}
}
