package im

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestKeyedMutex(t *testing.T) {
	t.Parallel()
	var (
		m     keyedMutex
		wg    sync.WaitGroup
		count int // guarded by the key's lock alone
	)
	for range 50 {
		wg.Go(func() {
			unlock, err := m.lock(t.Context(), "one")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			count++
		})
	}
	wg.Wait()
	if count != 50 || len(m.locks) != 0 {
		t.Errorf("count is %d, %d keys are left", count, len(m.locks))
	}
	unlock, err := m.lock(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.lock(canceled, "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("lock of a held key: %v, want %v", err, context.Canceled)
	}
	if unlockOther, err := m.lock(t.Context(), "other"); err != nil {
		t.Errorf("lock of another key: %v", err)
	} else {
		unlockOther()
	}
	unlock()
	if len(m.locks) != 0 {
		t.Errorf("%d keys are left", len(m.locks))
	}
}
