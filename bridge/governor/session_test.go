package governor

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSessionKeepsRate checks that a reader that sleeps as Reserve says handles the burst at once and then keeps the
// rate.
func TestSessionKeepsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSession(Rate{50, time.Second}, 0)
		start := time.Now()
		for i := range 50 {
			if wait := s.Reserve(); wait != 0 {
				t.Fatalf("event %d of the burst: wait %v, want 0", i, wait)
			}
		}
		for range 500 {
			wait := s.Reserve()
			if wait <= 0 || wait > 20*time.Millisecond {
				t.Fatalf("wait %v, want more than 0 and at most 20ms", wait)
			}
			time.Sleep(wait)
		}
		if took := time.Since(start).Round(time.Millisecond); took != 10*time.Second {
			t.Errorf("500 events after the burst took %v, want 10s", took)
		}
	})
}

func TestSessionBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSession(Rate{1, time.Second}, 2)
		for i, want := range []time.Duration{0, 0, time.Second, 2 * time.Second} {
			if got := s.Reserve(); got != want {
				t.Errorf("event %d: wait %v, want %v", i, got, want)
			}
		}
	})
}

func TestSessionWithoutLimit(t *testing.T) {
	t.Parallel()
	s := NewSession(Rate{}, 0)
	for range 1000 {
		if wait := s.Reserve(); wait != 0 {
			t.Fatalf("wait %v without a limit, want 0", wait)
		}
	}
}

func BenchmarkSessionReserve(b *testing.B) {
	s := NewSession(Rate{1 << 30, time.Second}, 0)
	b.ReportAllocs()
	for b.Loop() {
		s.Reserve()
	}
}
