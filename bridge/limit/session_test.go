package limit

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSessionPaces: a reader that sleeps for what Reserve says handles the burst
// at once and keeps to the rate after it.
func TestSessionPaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSession(Rate{50, time.Second}, 0)
		start := time.Now()
		for i := range 50 {
			if wait := s.Reserve(); wait != 0 {
				t.Fatalf("event %d of the burst waits %v", i, wait)
			}
		}
		for range 500 {
			wait := s.Reserve()
			if wait <= 0 || wait > 20*time.Millisecond {
				t.Fatalf("wait %v, want up to 20ms", wait)
			}
			time.Sleep(wait)
		}
		if took := time.Since(start).Round(time.Millisecond); took != 10*time.Second {
			t.Errorf("500 events past the burst took %v, want 10s", took)
		}
	})
}

func TestSessionBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSession(Rate{1, time.Second}, 2)
		for i, want := range []time.Duration{0, 0, time.Second, 2 * time.Second} {
			if got := s.Reserve(); got != want {
				t.Errorf("event %d waits %v, want %v", i, got, want)
			}
		}
	})
}

func TestSessionWithoutLimit(t *testing.T) {
	t.Parallel()
	s := NewSession(Rate{}, 0)
	for range 1000 {
		if wait := s.Reserve(); wait != 0 {
			t.Fatalf("waits %v without a limit", wait)
		}
	}
}

func TestSessionSetRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewSession(Rate{}, 0)
		s.SetRate(Rate{2, time.Second}, 0)
		for i, want := range []time.Duration{0, 0, time.Second / 2} {
			if got := s.Reserve(); got != want {
				t.Errorf("event %d after a limit was set waits %v, want %v", i, got, want)
			}
		}
		s.SetRate(Rate{1, time.Second}, 0)
		if got := s.Reserve(); got != 2*time.Second {
			t.Errorf("the next event after the rate was halved waits %v, want 2s", got)
		}
		s.SetRate(Rate{}, 0)
		if got := s.Reserve(); got != 0 {
			t.Errorf("waits %v after the limit was lifted", got)
		}
	})
}

func BenchmarkSessionReserve(b *testing.B) {
	s := NewSession(Rate{1 << 30, time.Second}, 0)
	b.ReportAllocs()
	for b.Loop() {
		s.Reserve()
	}
}
