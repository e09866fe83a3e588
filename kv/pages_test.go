package kv

import (
	"slices"
	"testing"
)

// The pages have each key once, in the order of writing, also if the keys that were read are written again.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	bulk, err := NewBulk(ctx, s.Users.b.nc, "im")
	if err != nil {
		t.Fatal(err)
	}
	if err := bulk.Create(ctx, slices.Values(neighbors(prefetchKeys))); err != nil {
		t.Fatal(err)
	}
	b, got, last := s.Rosters.b, make(map[string]bool), uint64(0)
	err = b.pages(ctx, 0, func(entries []entry) error {
		if len(entries) > pageKeys {
			t.Errorf("a page has %d keys, want at most %d", len(entries), pageKeys)
		}
		var rewrites []write
		for _, e := range entries {
			if got[e.key] || e.revision <= last {
				t.Errorf("key %s at revision %d follows revision %d", e.key, e.revision, last)
			}
			got[e.key], last = true, e.revision
			rewrites = append(rewrites, putAt(e.key, e.value, e.revision))
		}
		_, err := b.write(ctx, rewrites...)
		return err
	})
	if err != nil || len(got) != prefetchKeys {
		t.Errorf("the pages have %d keys, %v; want %d", len(got), err, prefetchKeys)
	}
}

// The last messages of a stream may be removed before they are read.
func TestPagesEndInAGap(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	mustCreate(t, s, "a", "A")
	b := s.Users.b
	for _, gap := range []bool{false, true} {
		if gap { // the message of the last revision is removed
			if err := s.Users.barrier(ctx); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		if err := b.pages(ctx, 0, func(entries []entry) error { n += len(entries); return nil }); err != nil || n != 4 {
			t.Errorf("gap %t: %d keys, %v", gap, n, err)
		}
	}
}
