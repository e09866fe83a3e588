package talk

import (
	"errors"
	"testing"

	"imctl/bridge/wire"
	"imctl/kv"
)

// Numbers in a dialogue must exist, and what it changes must be the sender's own and not deleted.
func TestRules(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s := startService(t, url, Options{})
	with := func(set func(*kv.Dialogue)) kv.Dialogue {
		d := say(idA, kv.NewID())
		set(&d)
		return d
	}
	re := func(n uint64) kv.Dialogue { return with(func(d *kv.Dialogue) { d.Re = n }) }
	reacts := func(n uint64) kv.Dialogue { return with(func(d *kv.Dialogue) { d.Reacts = n }) }
	edits := func(n uint64) kv.Dialogue { return with(func(d *kv.Dialogue) { d.Edits = n }) }
	deletes := func(n uint64) kv.Dialogue { return with(func(d *kv.Dialogue) { d.Deletes = n }) }
	steps := func(s *Service, all []struct {
		what string
		d    kv.Dialogue
		ok   bool
	}) {
		t.Helper()
		for _, c := range all {
			switch o := <-add(t, s, idB, c.d); {
			case c.ok && o.err != nil:
				t.Errorf("%s: %v", c.what, o.err)
			case !c.ok && !errors.Is(o.err, wire.ProtocolError):
				t.Errorf("%s: %+v, want 403", c.what, o)
			}
		}
	}
	type step = struct {
		what string
		d    kv.Dialogue
		ok   bool
	}
	steps(s, []step{
		{"a reply in an empty conversation", re(1), false},
		{"a reply to itself", re(1), false},
		{"1", say(idA, "1"), true},
		{"a reply", re(1), true},
		{"a reaction", reacts(2), true},
		{"a reply to one that is not there", re(5), false},
	})
	stored(t, s, idA, say(idB, "4"))
	steps(s, []step{
		{"an edit of the friend's", edits(4), false},
		{"a deletion of the friend's", deletes(4), false},
		{"5: an edit", edits(1), true},
		{"an edit of an edit", edits(5), false},
		{"an edit of none", edits(100), false},
		{"6: a deletion", deletes(1), true},
		{"an edit of a deleted one", edits(1), false},
		{"7: a deletion again", deletes(1), true},
		{"8: a reply to a deleted one", re(1), true},
	})
	closeService(t, s)
	s = startService(t, url, Options{})
	steps(s, []step{
		{"after a restart, an edit of a deleted one", edits(1), false},
		{"an edit", edits(2), true},
		{"an old reply", re(1), true},
		{"a reply to itself", re(11), false},
	})
	// Those ahead in the queue exist.
	r := make(result, 4)
	for _, d := range []kv.Dialogue{say(idA, "10"), re(11), edits(11), deletes(12)} {
		if err := s.Add(idB, d, r); err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint64(4) {
		if o := <-r; o.err != nil || o.d.N != 11+n {
			t.Errorf("%d: %+v", 11+n, o)
		}
	}
	checkNumbered(t, read(t, s, kv.PairOf(idA, idB)), 14)
}

// After both users have forgotten a conversation it is erased, and its numbers go on.
func TestForget(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s := startService(t, url, Options{})
	ctx := t.Context()
	p := kv.PairOf(idA, idB)
	for _, id := range []string{"1", "2", "3"} {
		stored(t, s, idB, say(idA, id))
	}
	if err := s.Forget(ctx, idA, idB); err != nil {
		t.Fatal(err)
	}
	talks := func(user string) int {
		t.Helper()
		all, err := s.Talks(ctx, user, nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	history := func(user, with string) kv.Page {
		t.Helper()
		page, err := s.History(ctx, user, with, kv.Range{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	if a, b := talks(idA), talks(idB); a != 0 || b != 1 {
		t.Errorf("%d and %d conversations", a, b)
	}
	if a, b := history(idA, idB), history(idB, idA); len(a.Dialogues) != 0 || len(b.Dialogues) != 3 || b.Last != 3 {
		t.Errorf("%+v and %+v", a, b)
	}
	stored(t, s, idB, say(idA, "4"))
	if page := history(idA, idB); len(page.Dialogues) != 1 || page.First != 4 || page.Last != 4 {
		t.Errorf("%+v", page)
	}
	for _, user := range []string{idB, idA} {
		if err := s.Forget(ctx, user, p.Other(user)); err != nil {
			t.Fatal(err)
		}
	}
	if all := read(t, s, p); len(all) != 0 {
		t.Errorf("%d dialogues are left", len(all))
	}
	reply := say(idA, "5")
	reply.Re = 2
	if o := <-add(t, s, idB, reply); !errors.Is(o.err, wire.ProtocolError) {
		t.Errorf("a reply to an erased dialogue: %+v", o)
	}
	if o := stored(t, s, idB, say(idA, "1")); o.again || o.d.N != 5 {
		t.Errorf("after the erasure: %+v", o)
	}
	closeService(t, s)
	s = startService(t, url, Options{})
	if o := stored(t, s, idB, say(idA, "6")); o.d.N != 6 {
		t.Errorf("after a restart: %+v", o)
	}
}

// If all records have expired, the numbers go on from what the cursors show.
func TestNumbersGoOn(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s := startService(t, url, Options{})
	for _, id := range []string{"1", "2", "3"} {
		stored(t, s, idB, say(idA, id))
	}
	store := openStore(t, url)
	expire := func() {
		t.Helper()
		if err := store.Talks.EraseUser(t.Context(), idA); err != nil { // leaves nothing, as retention does
			t.Fatal(err)
		}
	}
	expire()
	if o := stored(t, s, idB, say(idA, "4")); o.d.N != 4 {
		t.Errorf("in memory: %+v", o)
	}
	expire()
	closeService(t, s)
	s = startService(t, url, Options{})
	if o := stored(t, s, idB, say(idA, "5")); o.d.N != 5 {
		t.Errorf("after a restart: %+v", o)
	}
}
