package kv

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
)

// seedRosters writes rosters directly.
func seedRosters(t *testing.T, s *Store, rosters map[string]Roster) {
	t.Helper()
	for id, r := range rosters {
		value, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Rosters.b.write(testContext(t), put(id, value)); err != nil {
			t.Fatal(err)
		}
	}
}

// popular returns the id of a user with n friends, n received and n sent requests, all with different users, and the
// rosters.
func popular(n int) (id string, rosters map[string]Roster) {
	id = NewID()
	rosters = map[string]Roster{}
	var own Roster
	for range n {
		friend, asker, asked := NewID(), NewID(), NewID()
		own.Friends = append(own.Friends, Friend{ID: friend, Since: then})
		own.Requests = append(own.Requests, Request{From: asker, Since: then})
		own.Asked = append(own.Asked, asked)
		rosters[friend] = Roster{Friends: []Friend{{ID: id, Since: then}, {ID: idC, Since: then}}}
		rosters[asker] = Roster{Asked: []string{id, idC}}
		rosters[asked] = Roster{Requests: []Request{{From: id, Since: then}, {From: idC, Since: then}}}
	}
	rosters[id] = own
	return id, rosters
}

func TestRemoveUser(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const n = 15
	id, rosters := popular(n)
	seedRosters(t, s, rosters)

	// After the first step, both ends of each relation agree.
	first, done, err := s.Rosters.removeStep(ctx, id)
	if err != nil || done || len(first) != removeBatch {
		t.Fatalf("the first step made %d changes, done %t, %v; want %d changes", len(first), done, err, removeBatch)
	}
	for other := range rosters {
		if other == id {
			continue
		}
		if got := relation(t, s, id, other); !consistent(got) {
			t.Errorf("after the first step two users are in the inconsistent state %+v", got)
		}
	}

	rest, err := s.Rosters.RemoveUser(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[Kind]int{}
	for _, c := range append(first, rest...) {
		kinds[c.Kind]++
		_, revision, err := s.Rosters.Get(ctx, c.B)
		if c.A != id || err != nil || c.RevisionB == 0 || c.RevisionB != revision {
			t.Errorf("the change is %+v, the roster has revision %d, %v", c, revision, err)
		}
	}
	if kinds[Removed] != n || kinds[Withdrawn] != 2*n || len(kinds) != 2 {
		t.Errorf("the changes are %v", kinds)
	}
	for other := range rosters {
		r := mustGet(t, s, other)
		for _, named := range r.named() {
			if named == id {
				t.Errorf("a roster still has the removed user: %+v", r)
			}
		}
		if other != id && len(r.named()) != 1 {
			t.Errorf("a roster has lost more than the removed user: %+v", r)
		}
	}

	if changes, err := s.Rosters.RemoveUser(ctx, id); err != nil || len(changes) != 0 {
		t.Errorf("removing again: %d changes, %v; want none", len(changes), err)
	}
	other := NewID()
	for call, err := range map[string]error{
		"Request to":   second(s.Rosters.Request(ctx, other, id, "")),
		"Request from": second(s.Rosters.Request(ctx, id, other, "")),
		"Add":          second(s.Rosters.Add(ctx, other, id, "x")),
		"Befriend":     second(s.Rosters.Befriend(ctx, other, id)),
	} {
		if !errors.Is(err, ErrUserNotFound) {
			t.Errorf("%s a removed user: %v, want %v", call, err, ErrUserNotFound)
		}
	}
	if _, err := s.Rosters.Remove(ctx, other, id); !errors.Is(err, ErrNotFriends) {
		t.Errorf("Remove of a removed user: %v, want %v", err, ErrNotFriends)
	}
}

func TestRemoveUserWithoutARoster(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	id := NewID()
	if changes, err := s.Rosters.RemoveUser(ctx, id); err != nil || len(changes) != 0 {
		t.Fatalf("%v, %v", changes, err)
	}
	if _, err := s.Rosters.Request(ctx, NewID(), id, ""); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("Request to a removed user: %v, want %v", err, ErrUserNotFound)
	}
	if _, err := s.Rosters.RemoveUser(ctx, "no id"); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("RemoveUser of an invalid id: %v, want %v", err, ErrUserNotFound)
	}
}

func TestRemoveUserDuringRequests(t *testing.T) {
	t.Parallel()
	stores := twoStores(t, startServer(t, t.TempDir(), false), Options{})
	ctx := testContext(t)
	id := NewID()
	ids := make([]string, 12)
	for i := range ids {
		ids[i] = NewID()
	}
	for i, err := range atOnce(len(ids), func(i int) error {
		if i == 0 {
			_, err := stores[0].Rosters.RemoveUser(ctx, id)
			return err
		}
		_, err := stores[i%2].Rosters.Request(ctx, ids[i], id, "")
		if errors.Is(err, ErrUserNotFound) {
			return nil
		}
		return err
	}) {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for _, other := range ids {
		if r := mustGet(t, stores[0], other); len(r.named()) != 0 {
			t.Errorf("a roster still has the removed user: %+v", r)
		}
	}
}

// A deleted roster or user leaves a permanent delete marker. The other keys of a deleted user are removed.
func TestMarkersStay(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	a, b := NewID(), NewID()
	if _, err := s.Rosters.Befriend(ctx, a, b); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rosters.RemoveUser(ctx, a); err != nil {
		t.Fatal(err)
	}
	u := mustCreate(t, s, "a", "Al")
	if err := s.Users.Delete(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	for bucket, want := range map[*bucket][]string{s.Rosters.b: {b, a, cursorsKey(a)}, s.Users.b: {userKey(u.ID)}} { // b's empty roster stays
		p, err := bucket.nextKeys(ctx, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range p.entries {
			if keys = append(keys, e.key); e.ttl != 0 || e.deleted == (e.key == b) {
				t.Errorf("%+v", e)
			}
		}
		slices.Sort(keys)
		slices.Sort(want)
		if !slices.Equal(keys, want) {
			t.Errorf("%s has %q, want %q", bucket.stream(), keys, want)
		}
	}
	if _, err := s.Rosters.Request(ctx, b, a, ""); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("a request to a deleted user: %v", err)
	}
}
