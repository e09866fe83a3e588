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
	there, err := s.Users.Create(ctx, User{Account: "there", Mail: "now"})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := s.Users.Create(ctx, User{Account: "gone", Profile: Profile{Name: "Gone"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Users.Delete(ctx, gone.ID); err != nil {
		t.Fatal(err)
	}
	created := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	whole := User{ID: NewID(), Account: "Whole", PasswordHash: "hash", Mail: "m", Profile: Profile{"Name", "p", "x", "b", "s"}, Created: created, Disabled: true}
	same := there
	same.Mail = "then"
	lines := []User{
		whole, same, {Account: "THERE"}, gone, {Account: "new"}, {Account: "NEW"},
		{ID: NewID(), Account: "there"}, {ID: there.ID, Account: "other"}, {Account: " "}, {ID: "x", Account: "x"},
	}
	for round := range 2 {
		got := s.Users.Restore(ctx, lines)
		for i, want := range []struct {
			made bool
			err  error
		}{
			{true, nil}, {false, nil}, {false, nil}, {true, nil}, {true, nil}, {false, nil},
			{false, ErrAccountExists}, {false, ErrAccountExists}, {false, ErrAccountEmpty}, {false, ErrUserNotFound},
		} {
			if got[i].Created != (want.made && round == 0) || !errors.Is(got[i].Err, want.err) || (want.err == nil) != (got[i].Err == nil) {
				t.Errorf("round %d, %s: made %v, %v", round, lines[i].Account, got[i].Created, got[i].Err)
			}
		}
		if got[2].User != there || got[4].User.ID != got[5].User.ID {
			t.Errorf("%+v, %+v, %+v", got[2].User, got[4].User, got[5].User)
		}
	}
	if u, err := s.Users.ByAccount(ctx, "whole"); err != nil || u != whole {
		t.Errorf("got %+v, %v", u, err)
	}
	if u, err := s.Users.Get(ctx, there.ID); err != nil || u != there {
		t.Errorf("what was there is %+v, %v", u, err)
	}
	if found, err := s.Users.Find(ctx, "gone", 1, ""); err != nil || len(found) != 1 {
		t.Errorf("found %v, %v", found, err)
	}
}

// TestRestoreUsersAtOnce has two nodes restore the same.
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
			t.Errorf("%s: made %v and %v, %v, %v", users[i].Account, a.Created, b.Created, a.Err, b.Err)
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
		Friends:  []Friend{{b, "Bob", since}, {"nobody", "", since}, {a, "me", since}},
		Requests: []Request{{c, "hello", since}},
		Asked:    []Request{{d, "please", since}},
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
				t.Errorf("%v says revision %d, the bucket %d (%v)", c.Kind, revision, now, err)
			}
		}
	}
	if changes, err = s.Rosters.Restore(ctx, UserSnapshot{b, RosterSnapshot{Friends: []Friend{{a, "Alice", since}}}}); err != nil || len(changes) != 1 || changes[0].Kind != Named {
		t.Errorf("the other end: %v, %v", changes, err)
	}
	if changes, err = s.Rosters.Restore(ctx, UserSnapshot{b, RosterSnapshot{Friends: []Friend{{a, "Another", since}}}}); err != nil || len(changes) != 0 {
		t.Errorf("a name that is there: %v, %v", changes, err)
	}
	if changes, err = s.Rosters.Restore(ctx, UserSnapshot{a, ofA}); err != nil || len(changes) != 0 {
		t.Errorf("once more: %v, %v", changes, err)
	}
	if was, err := s.Rosters.Snapshot(ctx, a); err != nil || !reflect.DeepEqual(was.Requests, ofA.Requests) || !reflect.DeepEqual(was.Asked, ofA.Asked) ||
		len(was.Friends) != restoreBatch+1 {
		t.Errorf("remembered %+v, %v", was, err)
	}
	for who, want := range map[string]struct {
		id  string
		has Roster
	}{
		"b": {b, Roster{Friends: []Friend{{a, "Alice", since}}}},
		"c": {c, Roster{Asked: []string{a}}},
		"d": {d, Roster{Requests: []Request{{a, "please", since}}}},
	} {
		if got := mustGet(t, s, want.id); !reflect.DeepEqual(got, want.has) {
			t.Errorf("%s has %+v", who, got)
		}
	}
	got := mustGet(t, s, a)
	if len(got.Friends) != restoreBatch+1 || got.Friends[0] != ofA.Friends[0] || !reflect.DeepEqual(got.Requests, ofA.Requests) || len(got.Asked) != 1 {
		t.Errorf("a has %+v", got)
	}
}

// TestRestoreDeleted gives somebody a roster who was deleted lately, but not to others.
func TestRestoreDeleted(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	back, still, friend := NewID(), NewID(), NewID()
	for _, id := range []string{back, still} {
		if _, err := s.Rosters.RemoveUser(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if changes, err := s.Rosters.Restore(ctx, UserSnapshot{back, RosterSnapshot{Friends: []Friend{{ID: still}}}}); err != nil || len(changes) != 0 {
			t.Errorf("%v, %v", changes, err)
		}
	}
	if _, err := s.Rosters.Befriend(ctx, back, friend); err != nil {
		t.Errorf("who is back makes a friend: %v", err)
	}
	if _, err := s.Rosters.Befriend(ctx, still, friend); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("who is gone makes a friend: %v", err)
	}
}

// TestRestoreLarge restores rosters that do not fit into one batch together, each of which says the same as another.
func TestRestoreLarge(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const people, note = 60, 200_000
	var all []UserSnapshot
	for i := range people {
		all = append(all, UserSnapshot{ID: fmt.Sprintf("%032x", i)})
	}
	for i := range all {
		next := all[(i+1)%people].ID
		all[i].Friends = []Friend{{ID: next, Alias: "next"}}
		all[i].Requests = []Request{{From: all[(i+2)%people].ID, Note: strings.Repeat("n", note)}}
	}
	for round := range 2 {
		changes, err := s.Rosters.Restore(ctx, all...)
		if err != nil || len(changes) != 2*people*(1-round) {
			t.Fatalf("round %d: %d changes, %v", round, len(changes), err)
		}
		for _, c := range changes {
			if _, revision, err := s.Rosters.Get(ctx, c.A); err != nil || c.RevisionA > revision || c.RevisionA == 0 {
				t.Errorf("%v at revision %d of %d, %v", c.Kind, c.RevisionA, revision, err)
			}
		}
	}
	for i := range all {
		if r := mustGet(t, s, all[i].ID); len(r.Friends) != 2 || len(r.Requests) != 1 || len(r.Requests[0].Note) != note || len(r.Asked) != 1 {
			t.Errorf("%d has %d friends, %d requests", i, len(r.Friends), len(r.Requests))
		}
	}
}

func TestCheckHash(t *testing.T) {
	t.Parallel()
	hash, err := NewHasher(HasherOptions{MemoryKiB: 64, Passes: 1}).Hash(testContext(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	for text, good := range map[string]bool{hash: true, "": true, "p": false, "$2a$10$abc": false, hash + "!": false} {
		if err := CheckHash(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
