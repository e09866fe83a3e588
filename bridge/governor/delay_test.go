package governor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

const refusals = 60

// TestDelay: an address that is refused often gets its answers late, and no other one does.
func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{Refusals: Rate{refusals, time.Minute}})
		defer g.Close()
		delay := func(address string, least, most time.Duration) {
			t.Helper()
			start := time.Now()
			g.Delay(t.Context(), address)
			if took := time.Since(start); took < least || took > most {
				t.Errorf("%s: held back for %s, want %s to %s", address, took, least, most)
			}
		}
		for range refusals {
			delay(attacker, 0, 0)
		}
		delay(attacker, minRefusalDelay, maxRefusalDelay)
		delay(owner, 0, 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			g.Delay(ctx, attacker)
		}
		time.Sleep(time.Hour)
		delay(attacker, 0, 0)
	})
}

// TestDelayIsBounded: no number of refused clients makes the server hold more answers back than it may.
func TestDelayIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{Refusals: Rate{refusals, time.Minute}})
		defer g.Close()
		for range refusals {
			g.Delay(t.Context(), attacker)
		}
		for range 2 * maxDelayed {
			go g.Delay(t.Context(), attacker)
		}
		synctest.Wait()
		if n := g.delayed.Load(); n != maxDelayed {
			t.Errorf("%d answers are held back, want %d", n, maxDelayed)
		}
		time.Sleep(maxRefusalDelay)
		if n := g.delayed.Load(); n != 0 {
			t.Errorf("%d answers are still held back", n)
		}
	})
}
