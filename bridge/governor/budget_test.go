package governor

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestBudgetRefills checks the burst, the sustained rate, and that a refused event is not counted.
func TestBudgetRefills(t *testing.T) {
	t.Parallel()
	for _, r := range []Rate{{20, time.Hour}, {10, time.Minute}, {3, time.Second}, {1, 7 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			b := newTable(10)
			allowed := func(n int) (count int) {
				for range n {
					if _, ok := b.take(Logins, "a", r, time.Now(), 0); ok {
						count++
					}
				}
				return count
			}
			if n := allowed(r.Events + 5); n != r.Events {
				t.Errorf("%v: %d at once, want %d", r, n, r.Events)
			}
			wait, _ := b.take(Logins, "a", r, time.Now(), 0)
			if wait != r.interval() {
				t.Errorf("%v: wait %s, want %s", r, wait, r.interval())
			}
			time.Sleep(wait)
			if n := allowed(5); n != 1 {
				t.Errorf("%v: %d after the wait, want 1", r, n)
			}
			time.Sleep(2 * r.Per)
			if n := allowed(r.Events + 5); n != r.Events {
				t.Errorf("%v: %d after a pause, want %d", r, n, r.Events)
			}
			b.refund(Logins, "a", r)
			if n := allowed(5); n != 1 {
				t.Errorf("%v: %d after a refund, want 1", r, n)
			}
			if _, ok := b.take(Logins, "b", r, time.Now(), 0); !ok {
				t.Errorf("%v: another key is limited too", r)
			}
			if _, ok := b.take(Forgotten, "a", r, time.Now(), 0); !ok {
				t.Errorf("%v: another budget of the key is limited too", r)
			}
			if _, ok := b.take(Logins, "a", Rate{}, time.Now(), 0); !ok {
				t.Errorf("the zero rate limits")
			}
		})
	}
}

// TestBudgetConcurrently: callers at the same time get no more than the burst of each key.
func TestBudgetConcurrently(t *testing.T) {
	t.Parallel()
	const keys, callers, burst = 50, 8, 5
	b := newTable(keys)
	now := time.Now()
	var counts [keys]atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range burst {
				for i := range keys {
					if _, ok := b.take(Logins, fmt.Sprint(i), Rate{burst, time.Hour}, now, 0); ok {
						counts[i].Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range counts {
		if n := counts[i].Load(); n != burst {
			t.Errorf("key %d: %d allowed, want %d", i, n, burst)
		}
	}
}

// TestTableIsBounded: neither many keys nor long keys take more than a bounded amount of memory, and a key that is used
// is not evicted.
func TestTableIsBounded(t *testing.T) {
	t.Parallel()
	b := newTable(100)
	now, r := time.Now(), Rate{1, time.Hour}
	b.take(Logins, "busy", r, now, 0)
	for i := range 1000 {
		b.take(Logins, strings.Repeat("x", 1<<16)+fmt.Sprint(i), r, now, 0)
		if _, ok := b.take(Logins, "busy", r, now, 0); ok {
			t.Fatal("a key in use was evicted")
		}
	}
	if n := b.spent.Len(); n != 100 {
		t.Errorf("%d keys, want 100", n)
	}
	for _, k := range b.spent.Keys() {
		if len(k.key) > maxKey {
			t.Fatalf("a key of %d bytes is kept", len(k.key))
		}
	}
}

// TestNetworksShareABudget: the networks of one IPv6 site share four times the rate of one of them.
func TestNetworksShareABudget(t *testing.T) {
	t.Parallel()
	g, _ := newGovernor(t, Options{Forgotten: Rate{5, time.Hour}})
	allowed := 0
	for i := range 100 {
		if g.AllowForgotten(fmt.Sprintf("2001:db8:1:%x::/64", i)) == nil {
			allowed++
		}
	}
	if allowed != 5*wideShare {
		t.Errorf("100 networks of a site: %d allowed, want %d", allowed, 5*wideShare)
	}
	if err := g.AllowForgotten("2001:db8:2:1::/64"); err != nil {
		t.Errorf("another site: %v", err)
	}
	for i := range 100 {
		if err := g.AllowForgotten(fmt.Sprintf("192.0.2.%d", i)); err != nil {
			t.Errorf("another IPv4 address: %v", err)
		}
	}
}

// TestReserveSend: dialogues over the rate wait, and those that would wait too long are refused and not counted.
func TestReserveSend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGovernor(t, Options{Dialogues: Rate{2, time.Second}})
		defer g.Close()
		reserve := func(want time.Duration, ok bool) {
			t.Helper()
			if wait, had := g.ReserveSend("a", time.Second); had != ok || ok && wait != want {
				t.Errorf("wait %s, %t; want %s, %t", wait, had, want, ok)
			}
		}
		reserve(0, true)
		reserve(0, true)
		reserve(time.Second/2, true)
		reserve(time.Second, true)
		for range 10 {
			reserve(0, false)
		}
		time.Sleep(time.Second / 2)
		reserve(time.Second, true)
	})
}

// TestRegistrations: registrations in flight cannot exceed the limit, and those that fail give their place back.
func TestRegistrations(t *testing.T) {
	t.Parallel()
	g, log := newGovernor(t, Options{Registrations: Rate{10, time.Hour}})
	var refunds []func()
	for range 60 {
		refund, err := g.Registration("192.0.2.1")
		if err == nil {
			refunds = append(refunds, refund)
		} else if limited := new(LimitedError); !errors.As(err, &limited) || limited.RetryAfter <= 0 || !errors.Is(err, ErrLimited) {
			t.Fatalf("unexpected error %v", err)
		}
	}
	if len(refunds) != 10 {
		t.Fatalf("%d of 60 at once, want 10", len(refunds))
	}
	refunds[0]()
	refunds[1]()
	if _, err := g.Registration("192.0.2.1"); err != nil {
		t.Errorf("after a refund: %v", err)
	}
	if lines := log.lines("limit reached"); len(lines) != 1 || !strings.Contains(lines[0], "reason=registrations source=192.0.2.1") {
		t.Errorf("50 refusals logged %q, want one line", lines)
	}
}
