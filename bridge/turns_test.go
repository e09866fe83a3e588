package bridge

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestTurns(t *testing.T) {
	t.Parallel()
	var (
		turns turns
		wg    sync.WaitGroup
		alone int // no lock but the turn
	)
	for range 50 {
		wg.Go(func() {
			leave, err := turns.take(t.Context(), "one")
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
			alone++
		})
	}
	wg.Wait()
	if alone != 50 || len(turns.of) != 0 {
		t.Errorf("%d turns, %d keys left", alone, len(turns.of))
	}
	leave, err := turns.take(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.take(over, "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("the turn is taken: %v", err)
	}
	if leaveOther, err := turns.take(t.Context(), "other"); err != nil {
		t.Errorf("another key: %v", err)
	} else {
		leaveOther()
	}
	leave()
	if len(turns.of) != 0 {
		t.Errorf("%d keys left", len(turns.of))
	}
}
