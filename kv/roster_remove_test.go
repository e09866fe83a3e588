package kv

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
)

// seedRosters writes rosters without the calls that would lead to them.
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

// popular makes a user with n friends, n requests and n marks, each of somebody else.
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

func TestDrop(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const n = 15
	id, rosters := popular(n)
	seedRosters(t, s, rosters)

	// Stopped halfway, both ends agree about everybody.
	some, done, err := s.Rosters.removeStep(ctx, id)
	if err != nil || done || len(some) != removeBatch {
		t.Fatalf("the first step changed %d, done %v, %v", len(some), done, err)
	}
	for other := range rosters {
		if other == id {
			continue
		}
		if got := relation(t, s, id, other); !known(got) {
			t.Errorf("halfway: %+v", got)
		}
	}

	rest, err := s.Rosters.RemoveUser(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[Kind]int{}
	for _, c := range append(some, rest...) {
		kinds[c.Kind]++
		_, revision, err := s.Rosters.Get(ctx, c.B)
		if c.A != id || err != nil || c.RevisionB == 0 || c.RevisionB != revision {
			t.Errorf("change %+v; the roster is at revision %d, %v", c, revision, err)
		}
	}
	if kinds[Removed] != n || kinds[Withdrawn] != 2*n || len(kinds) != 2 {
		t.Errorf("the changes are %v", kinds)
	}
	for other := range rosters {
		r := mustGet(t, s, other)
		for _, named := range r.named() {
			if named == id {
				t.Errorf("%+v still names the dropped user", r)
			}
		}
		if other != id && len(r.named()) != 1 {
			t.Errorf("%+v lost more than the dropped user", r)
		}
	}

	if again, err := s.Rosters.RemoveUser(ctx, id); err != nil || len(again) != 0 {
		t.Errorf("dropping again: %d changes, %v", len(again), err)
	}
	other := NewID()
	for call, err := range map[string]error{
		"Request to":   second(s.Rosters.Request(ctx, other, id, "")),
		"Request from": second(s.Rosters.Request(ctx, id, other, "")),
		"Add":          second(s.Rosters.Add(ctx, other, id, "x")),
		"Befriend":     second(s.Rosters.Befriend(ctx, other, id)),
	} {
		if !errors.Is(err, ErrUserNotFound) {
			t.Errorf("%s a dropped user: %v", call, err)
		}
	}
	if _, err := s.Rosters.Remove(ctx, other, id); !errors.Is(err, ErrNotFriends) {
		t.Errorf("Remove of a dropped user: %v", err)
	}
}

func TestDropOfAUserWithoutARoster(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	id := NewID()
	if changes, err := s.Rosters.RemoveUser(ctx, id); err != nil || len(changes) != 0 {
		t.Fatalf("%v, %v", changes, err)
	}
	if _, err := s.Rosters.Request(ctx, NewID(), id, ""); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("Request to a dropped user: %v", err)
	}
	if _, err := s.Rosters.RemoveUser(ctx, "no id"); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("Drop of what is no id: %v", err)
	}
}

func TestDropAgainstRequestsAtOnce(t *testing.T) {
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
			t.Errorf("somebody still names the dropped user: %+v", r)
		}
	}
}

// A deleted roster or user leaves a permanent delete marker. A deleted user's other keys are removed at once.
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
	for bucket, want := range map[*bucket][]string{s.Rosters.b: {b, a}, s.Users.b: {userKey(u.ID)}} { // b's empty roster stays
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
