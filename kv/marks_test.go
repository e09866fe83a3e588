package kv

import (
	"maps"
	"testing"
)

func TestMarks(t *testing.T) {
	t.Parallel()
	on, off := true, false
	var m Marks
	if got := m.With(MarkChange{Pinned: &off}); got != 0 || got.Any() {
		t.Errorf("a mark that was not set: %d", got)
	}
	pinned := m.With(MarkChange{Pinned: &on, Muted: &on})
	if !pinned.Pinned() || pinned.Archived() || !pinned.Muted() || !pinned.Any() {
		t.Errorf("pinned and muted: %d", pinned)
	}
	if got := pinned.With(MarkChange{Pinned: &on}); got != pinned {
		t.Errorf("pinned again: %d, want %d", got, pinned)
	}
	none := pinned.With(MarkChange{Pinned: &off, Muted: &off})
	if none.Any() || none <= pinned {
		t.Errorf("no marks: %d after %d", none, pinned)
	}
	if got := NewMarks(false, true, false); !got.Archived() || got.Pinned() || NewMarks(false, false, false) != 0 {
		t.Errorf("new marks: %d", got)
	}
}

// TestMark: marks are stored at once, merge with cursors of other writers, and a document without them stays in the form
// that older versions read.
func TestMark(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	o := Options{Talks: &TalksOptions{}}
	stores := []*Store{openStore(t, nc, o), openStore(t, nc, o)}
	ctx := testContext(t)
	user, friend, other := NewID(), NewID(), NewID()
	on, off := true, false
	if err := stores[0].Cursors.Advance(ctx, user, []Cursor{{With: friend, Last: 7, Got: 5}, {With: other, Last: 1}}); err != nil {
		t.Fatal(err)
	}
	version := func() byte {
		t.Helper()
		e, err := stores[0].Cursors.b.get(ctx, cursorsKey(user), true)
		if err != nil {
			t.Fatal(err)
		}
		return e.value[0]
	}
	if _, err := stores[0].Cursors.Mark(ctx, user, friend, MarkChange{Pinned: &off}); err != nil || version() != cursorsVersion {
		t.Errorf("without marks the document has version %d, %v", version(), err)
	}
	changes := []MarkChange{{Pinned: &on}, {Archived: &on}, {Muted: &on}, {Archived: &off}}
	for i, change := range changes[:3] {
		if _, err := stores[i%2].Cursors.Mark(ctx, user, friend, change); err != nil {
			t.Fatal(err)
		}
	}
	marks, err := stores[1].Cursors.Mark(ctx, user, friend, changes[3])
	if err != nil || !marks.Pinned() || marks.Archived() || !marks.Muted() || version() != marksVersion {
		t.Errorf("marks are %d in version %d, %v", marks, version(), err)
	}
	// A writer that has not seen the marks does not remove them.
	if err := stores[0].Cursors.Advance(ctx, user, []Cursor{{With: friend, Last: 9, Marks: NewMarks(false, true, false)}}); err != nil {
		t.Fatal(err)
	}
	want := map[string]Cursor{friend: {With: friend, Last: 9, Got: 5, Marks: marks}, other: {With: other, Last: 1}}
	if got, err := stores[0].Cursors.Get(ctx, user); err != nil || !maps.Equal(got, want) {
		t.Errorf("cursors are %v, %v, want %v", got, err, want)
	}
	for _, ids := range [][2]string{{"x", friend}, {user, "*"}} {
		if _, err := stores[0].Cursors.Mark(ctx, ids[0], ids[1], changes[0]); err == nil {
			t.Errorf("ids %v are accepted", ids)
		}
	}
}
