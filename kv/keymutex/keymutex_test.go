package keymutex

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// lockNow locks keys that no other caller holds.
func lockNow(t *testing.T, m *Mutex, keys ...string) (unlock func()) {
	t.Helper()
	unlock, err := m.Lock(t.Context(), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

// expectLocked fails unless Lock returns the context's error and leaves no reference behind.
func expectLocked(t *testing.T, m *Mutex, keys ...string) {
	t.Helper()
	before := len(m.locks)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Lock(ctx, keys...); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock(%q) with a canceled context: %v, want %v", keys, err, context.Canceled)
	}
	if len(m.locks) != before {
		t.Errorf("Lock(%q) left %d keys, want %d", keys, len(m.locks), before)
	}
}

func TestExclusive(t *testing.T) {
	t.Parallel()
	var (
		m       Mutex
		wg      sync.WaitGroup
		counter int // guarded by the key "common"
	)
	for i := range 50 {
		wg.Go(func() {
			// Every caller names the common key at another place: the order of locking must not depend on it.
			keys := []string{fmt.Sprint("a", i%3), "common", fmt.Sprint("z", i%5)}
			for range i % 3 {
				keys = append(keys[1:], keys[0])
			}
			unlock, err := m.Lock(t.Context(), keys...)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			counter++
		})
	}
	wg.Wait()
	if counter != 50 || len(m.locks) != 0 {
		t.Errorf("the counter is %d, want 50; %d keys are left, want none", counter, len(m.locks))
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	var m Mutex
	unlock := lockNow(t, &m, "a", "b", "a")
	expectLocked(t, &m, "a")
	expectLocked(t, &m, "c", "b", "d")
	lockNow(t, &m, "c", "d")() // free again, although the call above had to wait for b
	unlock()
	if len(m.locks) != 0 {
		t.Errorf("%d keys are left, want none", len(m.locks))
	}
	lockNow(t, &m, "a", "b")()
	lockNow(t, &m)()
}

func BenchmarkLock(b *testing.B) {
	var m Mutex
	b.ReportAllocs()
	for b.Loop() {
		unlock, err := m.Lock(b.Context(), "5f4dcc3b5aa765d61d8327deb882cf99", "d41d8cd98f00b204e9800998ecf8427e")
		if err != nil {
			b.Fatal(err)
		}
		unlock()
	}
}
