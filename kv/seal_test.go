package kv

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"
)

// Servers that start together get the same key.
func TestSealKey(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const calls = 4
	var keys [calls][]byte
	var errs [calls]error
	var done sync.WaitGroup
	for i := range calls {
		done.Go(func() { keys[i], errs[i] = s.Seals.Key(ctx) })
	}
	done.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) {
			t.Errorf("call %d got a key of %d bytes that is not that of call 0", i, len(key))
		}
	}
}

// Of concurrent uses one succeeds, and the record expires.
func TestSpend(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const calls = 4
	var errs [calls]error
	var done sync.WaitGroup
	for i := range calls {
		done.Go(func() { errs[i] = s.Seals.Spend(ctx, "one", time.Minute) })
	}
	done.Wait()
	succeeded := 0
	for _, err := range errs {
		switch {
		case err == nil:
			succeeded++
		case !errors.Is(err, ErrSpent):
			t.Error(err)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d of %d uses succeeded, want 1", succeeded, calls)
	}
	if err := s.Seals.Spend(ctx, "two", time.Minute); err != nil {
		t.Errorf("another thing: %v", err)
	}
}
