package kv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestResets(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	r := s.Resets
	a, b := NewID(), NewID()
	try := func(id, want string, wantErr error) {
		t.Helper()
		if hash, err := r.Try(ctx, id); hash != want || !errors.Is(err, wantErr) {
			t.Errorf("Try = %q, %v; want %q, %v", hash, err, want, wantErr)
		}
	}
	put := func(id, hash string, life time.Duration, tries int) {
		t.Helper()
		if err := r.Put(ctx, id, hash, life, tries); err != nil {
			t.Fatal(err)
		}
	}
	try(a, "", ErrNoReset)
	put(a, "one", time.Minute, 2)
	put(b, "other", time.Minute, 2)
	try(a, "one", nil)
	try(a, "one", nil)
	try(a, "", ErrNoReset) // no tries are left
	try(b, "other", nil)

	put(a, "two", time.Minute, 2) // replaces the first code, with new tries
	try(a, "two", nil)
	if err := r.Use(ctx, a, "one"); !errors.Is(err, ErrNoReset) {
		t.Errorf("Use of the replaced code: %v, want %v", err, ErrNoReset)
	}
	if err := r.Use(ctx, a, "two"); err != nil {
		t.Errorf("Use: %v", err)
	}
	if err := r.Use(ctx, a, "two"); !errors.Is(err, ErrNoReset) {
		t.Errorf("Use of a used code: %v, want %v", err, ErrNoReset)
	}
	try(a, "", ErrNoReset)
	put(a, "three", time.Minute, 1) // replaces a delete marker
	try(a, "three", nil)

	if err := r.Remove(ctx, b); err != nil {
		t.Fatal(err)
	}
	try(b, "", ErrNoReset)
	for _, id := range []string{"", "*", ">", "a.b"} {
		if err := r.Put(ctx, id, "x", time.Minute, 1); !errors.Is(err, ErrUserNotFound) {
			t.Errorf("Put for %q: %v", id, err)
		}
		try(id, "", ErrNoReset)
		if err := r.Remove(ctx, id); err != nil {
			t.Errorf("Remove of %q: %v", id, err)
		}
	}
	try(a, "", ErrNoReset) // the only try is used
	if n, err := s.Users.Count(ctx); err != nil || n != 0 {
		t.Errorf("Count = %d, %v; want 0, since a code is no user", n, err)
	}
}

// The server removes an expired code.
func TestResetExpires(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	s := openStore(t, nc, Options{})
	ctx := testContext(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	id := NewID()
	if err := s.Resets.Put(ctx, id, "hash", time.Second, 9); err != nil {
		t.Fatal(err)
	}
	bucket, err := js.KeyValue(ctx, "im_users")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Get(ctx, "reset."+id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the code expires", func() bool {
		_, err := s.Resets.Try(ctx, id)
		return errors.Is(err, ErrNoReset)
	})
	eventually(t, "the server removes the code", func() bool {
		_, err := bucket.Get(ctx, "reset."+id)
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
}

// Concurrent calls have no more tries than the code allows, and one call of Use succeeds.
func TestResetAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	count := func(call func(context.Context, string) error, id string) (succeeded int) {
		t.Helper()
		for _, err := range atOnce(12, func(int) error { return call(ctx, id) }) {
			switch {
			case err == nil:
				succeeded++
			case !errors.Is(err, ErrNoReset) && !errors.Is(err, ErrConflict):
				t.Errorf("a concurrent call: %v", err)
			}
		}
		return succeeded
	}
	id := NewID()
	if err := s.Resets.Put(ctx, id, "hash", time.Minute, 4); err != nil {
		t.Fatal(err)
	}
	try := func(ctx context.Context, id string) error { _, err := s.Resets.Try(ctx, id); return err }
	if n := count(try, id); n != 4 {
		t.Errorf("%d tries succeeded, want 4", n)
	}
	use := func(ctx context.Context, id string) error { return s.Resets.Use(ctx, id, "hash") }
	if n := count(use, id); n != 1 {
		t.Errorf("%d calls of Use succeeded, want 1", n)
	}
}
