package kv

import (
	"errors"
	"slices"
	"testing"
)

// TestBefriendedSurvivesExport checks that a snapshot of a roster has the services that have befriended the user.
func TestBefriendedSurvivesExport(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	from, to := newStore(t, Options{}), newStore(t, Options{})
	if _, err := from.Rosters.BefriendOnce(ctx, idA, idB); err != nil {
		t.Fatal(err)
	}
	if _, err := from.Rosters.Remove(ctx, idB, idA); err != nil {
		t.Fatal(err)
	}
	was, err := from.Rosters.Snapshot(ctx, idB)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Rosters.Restore(ctx, UserSnapshot{ID: idB, RosterSnapshot: was}); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Rosters.BefriendOnce(ctx, idA, idB); !errors.Is(err, ErrNotFriends) {
		t.Errorf("a service that the user has removed befriends it again: %v", err)
	}
}

// TestBefriendOnce checks that a service befriends a user once, and never one that blocks it.
func TestBefriendOnce(t *testing.T) {
	t.Parallel()
	service, user := &party{id: idA}, &party{id: idB}
	if kind, err := befriendOnce(service, user, then, day); kind != Befriended || err != nil {
		t.Fatalf("first: %v, %v", kind, err)
	}
	if kind, err := befriendOnce(service, user, then, day); kind != Unchanged || err != nil {
		t.Errorf("as a friend: %v, %v", kind, err)
	}
	if kind, err := remove(user, service, then, day); kind != Removed || err != nil {
		t.Fatalf("remove: %v, %v", kind, err)
	}
	if _, err := befriendOnce(service, user, then, day); !errors.Is(err, ErrNotFriends) {
		t.Errorf("after the removal: %v, want ErrNotFriends", err)
	}
	// A request is still possible, and the user may accept it.
	if kind, err := request(service, user, "please", then, day); kind != Requested || err != nil {
		t.Errorf("request: %v, %v", kind, err)
	}
	if kind, err := add(user, service, "alerts", then, day); kind != Befriended || err != nil || !slices.Equal(user.BefriendedBy, []string{idA}) {
		t.Errorf("add: %v, %v, %v", kind, err, user.BefriendedBy)
	}
	for _, blocks := range []bool{true, false} { // the user blocks the service, or the other way round
		service, user := &party{id: idA}, &party{id: idB}
		var err error
		if blocks {
			_, err = block(user, service)
		} else {
			_, err = block(service, user)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := befriendOnce(service, user, then, day); !errors.Is(err, ErrNotFriends) || len(user.Friends) != 0 {
			t.Errorf("blocked: %v, %+v", err, user.Roster)
		}
	}
	if _, err := befriendOnce(service, service, then, day); !errors.Is(err, ErrSelf) {
		t.Errorf("itself: %v", err)
	}
}
