package kv

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"testing"
)

func TestCursorsCodec(t *testing.T) {
	t.Parallel()
	all := make(map[string]Cursor)
	for n := range uint64(2000) {
		with := NewID()
		all[with] = Cursor{With: with, Last: 9000 + n, Got: 9000, Read: 8999, Forgot: n, PeerGot: 9000, PeerRead: 1}
	}
	value := encodeCursors(all)
	if got, err := decodeCursors(value); err != nil || !reflect.DeepEqual(got, all) {
		t.Fatalf("decoded %d cursors, %v", len(got), err)
	}
	if most := 60 * len(all); len(value) > most {
		t.Errorf("%d cursors take %d bytes, want at most %d", len(all), len(value), most)
	}
	short := encodeCursors(map[string]Cursor{testPair.A: {With: testPair.A, Last: 300}})
	twice := append(append([]byte{}, short...), short[1:]...)
	for name, value := range map[string][]byte{"nothing": nil, "another version": {3}, "the same friend twice": twice} {
		if _, err := decodeCursors(value); !errors.Is(err, errCursors) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range len(short) {
		if _, err := decodeCursors(short[:n]); err == nil && n != 1 {
			t.Errorf("the first %d bytes were decoded", n)
		}
	}
}

// Cursors of several writers merge by the maximum of each number.
func TestCursorsMerge(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	o := Options{Talks: &TalksOptions{}}
	stores := []*Store{openStore(t, nc, o), openStore(t, nc, o)}
	ctx := testContext(t)
	user, friend := NewID(), NewID()
	if got, err := stores[0].Cursors.Get(ctx, user); len(got) != 0 || err != nil {
		t.Fatalf("a user without cursors: %v, %v", got, err)
	}
	want := make(map[string]Cursor)
	changes := make([]Cursor, 16)
	for i := range changes {
		n := uint64(i)
		changes[i] = Cursor{With: friend, Last: 20, Got: n, Read: 15 - n, Forgot: n % 4, PeerGot: 7, PeerRead: n / 2}
		if i%2 == 0 {
			changes[i].With = NewID()
		}
		want[changes[i].With] = changes[i].Merge(want[changes[i].With])
	}
	for i, err := range atOnce(len(changes), func(i int) error {
		return stores[i%2].Cursors.Advance(ctx, user, changes[i:i+1])
	}) {
		if err != nil {
			t.Errorf("writer %d: %v", i, err)
		}
	}
	got, err := stores[0].Cursors.Get(ctx, user)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("cursors are %v, %v, want %v", got, err, want)
	}
	_, before, err := stores[0].Cursors.read(ctx, user)
	if err != nil {
		t.Fatal(err)
	}
	if err := stores[1].Cursors.Advance(ctx, user, []Cursor{{With: friend, Got: 1}}); err != nil {
		t.Error(err)
	}
	if _, after, err := stores[0].Cursors.read(ctx, user); err != nil || after.revision != before.revision {
		t.Errorf("older cursors were written at revision %d, %v", after.revision, err)
	}
	for _, err := range []error{
		stores[0].Cursors.Advance(ctx, "x", []Cursor{{With: friend}}),
		stores[0].Cursors.Advance(ctx, user, []Cursor{{With: "*"}}),
		second(stores[0].Cursors.Get(ctx, ">")),
	} {
		if !errors.Is(err, ErrUserNotFound) {
			t.Errorf("an invalid id: %v", err)
		}
	}
}

// The cursors of a deleted user are deleted, and are not written again, unless the user is restored.
func TestCursorsOfDeletedUser(t *testing.T) {
	t.Parallel()
	for _, had := range []bool{false, true} {
		t.Run(fmt.Sprint(had), func(t *testing.T) {
			t.Parallel()
			s := newTalkStore(t)
			ctx := testContext(t)
			u, cursor := mustCreate(t, s, "john", "John"), Cursor{With: NewID(), Got: 3}
			if had {
				if err := s.Cursors.Advance(ctx, u.ID, []Cursor{cursor}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Rosters.RemoveUser(ctx, u.ID); err != nil {
				t.Fatal(err)
			}
			expect := func(when string, want int) {
				t.Helper()
				if got, err := s.Cursors.Get(ctx, u.ID); err != nil || len(got) != want {
					t.Errorf("%s: %v, %v, want %d cursors", when, got, err, want)
				}
			}
			expect("deleted", 0)
			if err := s.Cursors.Advance(ctx, u.ID, []Cursor{cursor}); err != nil {
				t.Fatal(err)
			}
			expect("written after the deletion", 0)
			if _, err := s.Rosters.Restore(ctx, UserSnapshot{ID: u.ID}); err != nil {
				t.Fatal(err)
			}
			if err := s.Cursors.Advance(ctx, u.ID, []Cursor{cursor}); err != nil {
				t.Fatal(err)
			}
			expect("restored", 1)
		})
	}
}
