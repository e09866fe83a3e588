package kv

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRestoreUsers(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	existing, err := s.Users.Create(ctx, User{Account: "existing", Mail: "now"})
	if err != nil {
		t.Fatal(err)
	}
	deleted, err := s.Users.Create(ctx, User{Account: "deleted", Profile: Profile{Name: "Deleted"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Users.Delete(ctx, deleted.ID); err != nil {
		t.Fatal(err)
	}
	created := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	complete := User{ID: NewID(), Account: "Complete", PasswordHash: "hash", Mail: "m", Profile: Profile{"Name", "p", "x", "b", "s"}, Created: created, Disabled: true}
	same := existing
	same.Mail = "then"
	lines := []User{
		complete, same, {Account: "EXISTING"}, deleted, {Account: "new"}, {Account: "NEW"},
		{ID: NewID(), Account: "existing"}, {ID: existing.ID, Account: "other"}, {Account: " "}, {ID: "x", Account: "x"},
	}
	for round := range 2 {
		got := s.Users.Restore(ctx, lines)
		for i, want := range []struct {
			created bool
			err     error
		}{
			{true, nil}, {false, nil}, {false, nil}, {true, nil}, {true, nil}, {false, nil},
			{false, ErrAccountExists}, {false, ErrAccountExists}, {false, ErrAccountEmpty}, {false, ErrUserNotFound},
		} {
			if got[i].Created != (want.created && round == 0) || !errors.Is(got[i].Err, want.err) || (want.err == nil) != (got[i].Err == nil) {
				t.Errorf("round %d, %s: created %t, %v", round, lines[i].Account, got[i].Created, got[i].Err)
			}
		}
		if got[2].User != existing || got[4].User.ID != got[5].User.ID {
			t.Errorf("the users are %+v, %+v and %+v", got[2].User, got[4].User, got[5].User)
		}
	}
	if u, err := s.Users.ByAccount(ctx, "complete"); err != nil || u != complete {
		t.Errorf("ByAccount = %+v, %v; want %+v", u, err, complete)
	}
	if u, err := s.Users.Get(ctx, existing.ID); err != nil || u != existing {
		t.Errorf("the existing user is %+v, %v; want %+v", u, err, existing)
	}
	if found, err := s.Users.Find(ctx, "deleted", 1, ""); err != nil || len(found) != 1 {
		t.Errorf("Find = %v, %v; want the restored user", found, err)
	}
}

// Two nodes restore the same users concurrently.
func TestRestoreUsersAtOnce(t *testing.T) {
	t.Parallel()
	stores := twoStores(t, startServer(t, t.TempDir(), false), Options{})
	ctx := testContext(t)
	var users []User
	for i := range restoreUsers + 10 {
		users = append(users, User{ID: NewID(), Account: fmt.Sprint("user ", i)})
	}
	var wg sync.WaitGroup
	var all [2][]Restored
	for i, s := range stores {
		wg.Go(func() { all[i] = s.Users.Restore(ctx, users) })
	}
	wg.Wait()
	for i := range users {
		a, b := all[0][i], all[1][i]
		if a.Err != nil || b.Err != nil || a.Created == b.Created {
			t.Errorf("%s: created %t and %t, %v, %v; want one of the nodes to create it", users[i].Account, a.Created, b.Created, a.Err, b.Err)
		}
	}
	if n, err := stores[0].Users.Count(ctx); err != nil || n != len(users) {
		t.Errorf("%d users, %v", n, err)
	}
}

func TestRestoreRosters(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{MaxFriends: 1, MaxRequests: 1})
	ctx := testContext(t)
	since := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	a, b, c, d := NewID(), NewID(), NewID(), NewID()
	ofA := RosterSnapshot{
		Friends:  []Friend{{ID: b, Alias: "Bob", Since: since}, {ID: "invalid id", Since: since}, {ID: a, Alias: "me", Since: since}},
		Requests: []Request{{From: c, Note: "hello", Since: since}},
		Asked:    []Request{{From: d, Note: "please", Since: since}},
	}
	for i := range restoreBatch {
		ofA.Friends = append(ofA.Friends, Friend{ID: NewID(), Since: since.Add(time.Duration(i))})
	}
	changes, err := s.Rosters.Restore(ctx, UserSnapshot{a, ofA})
	if err != nil || len(changes) != restoreBatch+3 {
		t.Fatalf("%d changes, %v", len(changes), err)
	}
	for _, c := range changes {
		for id, revision := range map[string]uint64{c.A: c.RevisionA, c.B: c.RevisionB} {
			if _, now, err := s.Rosters.Get(ctx, id); err != nil || revision == 0 || revision > now {
				t.Errorf("the change %v has revision %d, the roster %d (%v)", c.Kind, revision, now, err)
			}
		}
	}
	if changes, err = s.Rosters.Restore(ctx, UserSnapshot{b, RosterSnapshot{Friends: []Friend{{ID: a, Alias: "Alice", Since: since}}}}); err != nil || len(changes) != 1 || changes[0].Kind != Named {
		t.Errorf("restoring the other end: %v, %v; want its alias", changes, err)
	}
	if changes, err = s.Rosters.Restore(ctx, UserSnapshot{b, RosterSnapshot{Friends: []Friend{{ID: a, Alias: "Another", Since: since}}}}); err != nil || len(changes) != 0 {
		t.Errorf("restoring another alias: %v, %v; want no change", changes, err)
	}
	if changes, err = s.Rosters.Restore(ctx, UserSnapshot{a, ofA}); err != nil || len(changes) != 0 {
		t.Errorf("restoring again: %v, %v; want no change", changes, err)
	}
	if snapshot, err := s.Rosters.Snapshot(ctx, a); err != nil || !reflect.DeepEqual(snapshot.Requests, ofA.Requests) || !reflect.DeepEqual(snapshot.Asked, ofA.Asked) ||
		len(snapshot.Friends) != restoreBatch+1 {
		t.Errorf("Snapshot = %+v, %v", snapshot, err)
	}
	for user, want := range map[string]struct {
		id  string
		has Roster
	}{
		"b": {b, Roster{Friends: []Friend{{ID: a, Alias: "Alice", Since: since}}}},
		"c": {c, Roster{Asked: []string{a}, AskedAt: map[string]int64{a: since.Unix()}}},
		"d": {d, Roster{Requests: []Request{{From: a, Note: "please", Since: since}}}},
	} {
		if got := mustGet(t, s, want.id); !reflect.DeepEqual(got, want.has) {
			t.Errorf("the roster of %s is %+v, want %+v", user, got, want.has)
		}
	}
	got := mustGet(t, s, a)
	if len(got.Friends) != restoreBatch+1 || got.Friends[0] != ofA.Friends[0] || !reflect.DeepEqual(got.Requests, ofA.Requests) || len(got.Asked) != 1 {
		t.Errorf("the roster of a is %+v", got)
	}
}

// Restore replaces the delete marker of the restored user, but not those of other users.
func TestRestoreDeleted(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	restored, deleted, friend := NewID(), NewID(), NewID()
	for _, id := range []string{restored, deleted} {
		if _, err := s.Rosters.RemoveUser(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if changes, err := s.Rosters.Restore(ctx, UserSnapshot{restored, RosterSnapshot{Friends: []Friend{{ID: deleted}}}}); err != nil || len(changes) != 0 {
			t.Errorf("Restore = %v, %v; want no change", changes, err)
		}
	}
	if _, err := s.Rosters.Befriend(ctx, restored, friend); err != nil {
		t.Errorf("Befriend of a restored user: %v", err)
	}
	if _, err := s.Rosters.Befriend(ctx, deleted, friend); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("Befriend of a deleted user: %v, want %v", err, ErrUserNotFound)
	}
}

// Restore splits rosters that are too large for one batch. The snapshots of the two ends of a friendship agree.
func TestRestoreLarge(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const users, note = 60, 200_000
	var all []UserSnapshot
	for i := range users {
		all = append(all, UserSnapshot{ID: fmt.Sprintf("%032x", i)})
	}
	for i := range all {
		next := all[(i+1)%users].ID
		all[i].Friends = []Friend{{ID: next, Alias: "next"}}
		all[i].Requests = []Request{{From: all[(i+2)%users].ID, Note: strings.Repeat("n", note)}}
	}
	for round := range 2 {
		changes, err := s.Rosters.Restore(ctx, all...)
		if err != nil || len(changes) != 2*users*(1-round) {
			t.Fatalf("round %d: %d changes, %v; want %d", round, len(changes), err, 2*users*(1-round))
		}
		for _, c := range changes {
			if _, revision, err := s.Rosters.Get(ctx, c.A); err != nil || c.RevisionA > revision || c.RevisionA == 0 {
				t.Errorf("the change %v has revision %d, the roster %d, %v", c.Kind, c.RevisionA, revision, err)
			}
		}
	}
	for i := range all {
		if r := mustGet(t, s, all[i].ID); len(r.Friends) != 2 || len(r.Requests) != 1 || len(r.Requests[0].Note) != note || len(r.Asked) != 1 {
			t.Errorf("roster %d has %d friends and %d requests", i, len(r.Friends), len(r.Requests))
		}
	}
}

func TestCheckHash(t *testing.T) {
	t.Parallel()
	h := NewHasher(HasherOptions{MemoryKiB: 64, Passes: 1})
	hash, err := h.Hash(testContext(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	for hash, valid := range map[string]bool{hash: true, "": true, "p": false, "$2a$10$abc": false, hash + "!": false} {
		if err := h.CheckHash(hash); (err == nil) != valid {
			t.Errorf("CheckHash(%q): %v", hash, err)
		}
	}
}
