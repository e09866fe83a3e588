package limit

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// allowed returns how many of n calls are allowed.
func allowed(k *Keyed, key string, n int) int {
	count := 0
	for range n {
		if k.Allow(key) {
			count++
		}
	}
	return count
}

func TestAllowRefills(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate        Rate
		burst       int
		first       int           // allowed at once
		step        time.Duration // until one more is allowed
		full        time.Duration // until the bucket is full again
		allowedFull int           // allowed when it is full
		description string
	}{
		{Rate{20, time.Hour}, 0, 20, 3 * time.Minute, time.Hour, 20, "burst from the rate"},
		{Rate{10, time.Minute}, 3, 3, 6 * time.Second, 18 * time.Second, 3, "a smaller burst"},
		{Rate{1, time.Second}, 5, 5, time.Second, 5 * time.Second, 5, "a larger burst"},
		{Rate{3, time.Second}, 0, 3, time.Second/3 + 1, time.Second, 3, "a rate with a fractional interval"},
		{Rate{7, 24 * time.Hour}, -1, 7, 24*time.Hour/7 + 1, 24 * time.Hour, 7, "a negative burst means the default"},
	} {
		t.Run(test.description, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := New(test.rate, test.burst, 0)
				if got := allowed(k, "a", 3*test.first); got != test.first {
					t.Fatalf("%d allowed at first, want %d", got, test.first)
				}
				time.Sleep(test.step - 2*time.Nanosecond)
				if k.Peek("a") || k.Allow("a") {
					t.Fatal("allowed before a token was refilled")
				}
				time.Sleep(2 * time.Nanosecond)
				if !k.Peek("a") {
					t.Fatal("Peek returns false after a token was refilled")
				}
				if got := allowed(k, "a", 3); got != 1 {
					t.Fatalf("%d allowed after one refill, want 1", got)
				}
				time.Sleep(test.full + time.Hour)
				if got := allowed(k, "a", 3*test.allowedFull); got != test.allowedFull {
					t.Fatalf("%d allowed with a full bucket, want %d", got, test.allowedFull)
				}
			})
		})
	}
}

// TestPeekAgreesWithAllow uses rates at which sums of refills round to slightly less than a token.
func TestPeekAgreesWithAllow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, events := range []int{1, 3, 7, 11, 49} {
			k := New(Rate{events, time.Second}, 0, 0)
			allowed(k, "a", events)
			seen := 0
			for range 2000 {
				time.Sleep(time.Second / time.Duration(10*events))
				peek := k.Peek("a")
				if allow := k.Allow("a"); peek != allow {
					t.Fatalf("%d/s: Peek returns %v, Allow %v", events, peek, allow)
				}
				if peek {
					seen++
				}
			}
			if seen < 150 || seen > 210 {
				t.Errorf("%d/s: %d allowed in the time of 200 tokens", events, seen)
			}
		}
	})
}

func TestKeysAreIndependent(t *testing.T) {
	t.Parallel()
	k := New(Rate{2, time.Hour}, 0, 0)
	for _, key := range []string{"a", "b", ""} {
		if got := allowed(k, key, 5); got != 2 {
			t.Errorf("key %q: %d allowed, want 2", key, got)
		}
	}
}

func TestZeroRateDoesNotLimit(t *testing.T) {
	t.Parallel()
	for _, r := range []Rate{{}, {0, time.Hour}, {5, 0}, {-1, time.Hour}, {5, -time.Hour}} {
		k := New(r, 1, 0)
		for range 1000 {
			k.Take("a")
		}
		if !k.Peek("a") || allowed(k, "a", 1000) != 1000 {
			t.Errorf("rate %+v limits, want no limit", r)
		}
		if n := k.buckets.Len(); n != 0 {
			t.Errorf("rate %+v: %d buckets, want none", r, n)
		}
	}
}

func TestPeekTakesNothing(t *testing.T) {
	t.Parallel()
	k := New(Rate{1, time.Hour}, 0, 0)
	for range 100 {
		if !k.Peek("a") {
			t.Fatal("Peek took a token")
		}
	}
	if n := k.buckets.Len(); n != 0 {
		t.Errorf("Peek created %d buckets", n)
	}
	k.Take("a")
	if k.Peek("a") || k.Allow("a") {
		t.Error("Take took no token")
	}
}

// TestTakeBelowZero checks that the debt of ten callers that saw the same last token must be refilled.
func TestTakeBelowZero(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := New(Rate{10, time.Minute}, 1, 0)
		for range 10 {
			k.Take("a")
		}
		time.Sleep(59 * time.Second)
		if k.Peek("a") || k.Allow("a") {
			t.Fatal("allowed with a debt of nine tokens")
		}
		time.Sleep(time.Second)
		if !k.Peek("a") || !k.Allow("a") {
			t.Fatal("refused after the debt was refilled")
		}
	})
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	const size = 10
	k := New(Rate{1, time.Hour}, 0, size)
	k.Take("watched")
	for i := range 20 * size {
		k.Take(strconv.Itoa(i))
		if n := k.buckets.Len(); n > size {
			t.Fatalf("%d buckets, want at most %d", n, size)
		}
		// A refused call counts as use.
		if k.Peek("watched") {
			t.Fatalf("a key in use was evicted after %d other keys", i+1)
		}
	}
	if !k.Allow("0") {
		t.Error("the least recently used key was not evicted")
	}
}

// TestKeyIsCopied checks that a key does not keep the request that it is part of in memory.
func TestKeyIsCopied(t *testing.T) {
	t.Parallel()
	request := strings.Repeat("x", 1<<20)
	k := New(Rate{1, time.Hour}, 0, 0)
	k.Take(request[:10])
	if kept := k.buckets.Keys()[0]; unsafe.StringData(kept) == unsafe.StringData(request) {
		t.Error("the key shares the memory of the request")
	}
}

// TestConcurrent checks that concurrent callers get no more than the burst of each key, also while keys are created.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	const keys, callers, burst = 50, 8, 5
	k := New(Rate{burst, 1000 * time.Hour}, 0, keys)
	var counts [keys]atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range callers {
		wg.Go(func() {
			<-start
			for range burst {
				for i := range keys {
					key := strconv.Itoa(i)
					k.Peek(key)
					if k.Allow(key) {
						counts[i].Add(1)
					}
				}
			}
		})
	}
	close(start)
	wg.Wait()
	for i := range counts {
		if n := counts[i].Load(); n != burst {
			t.Errorf("key %d: %d allowed, want %d", i, n, burst)
		}
	}
}

// TestConcurrentEviction uses more keys than the size. It checks the size, and the race detector checks the locking.
func TestConcurrentEviction(t *testing.T) {
	t.Parallel()
	k := New(Rate{5, time.Hour}, 0, 10)
	var wg sync.WaitGroup
	for caller := range 4 {
		wg.Go(func() {
			for i := range 500 {
				key := fmt.Sprint(caller, i%25)
				k.Take(key)
				k.Allow(key)
				k.Peek(key)
			}
		})
	}
	wg.Wait()
	if n := k.buckets.Len(); n != 10 {
		t.Errorf("%d buckets, want 10", n)
	}
}

func BenchmarkKeyedAllow(b *testing.B) {
	k := New(Rate{1000, time.Second}, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		k.Allow("192.0.2.7")
	}
}

func BenchmarkKeyedAllowParallel(b *testing.B) {
	k := New(Rate{1000, time.Second}, 0, 0)
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			k.Allow(keys[i%len(keys)])
		}
	})
}

func BenchmarkKeyedPeek(b *testing.B) {
	k := New(Rate{1000, time.Second}, 0, 0)
	k.Take("192.0.2.7")
	b.ReportAllocs()
	for b.Loop() {
		k.Peek("192.0.2.7")
	}
}

// BenchmarkKeyedNewKeys is the worst case: every call creates a bucket and evicts one.
func BenchmarkKeyedNewKeys(b *testing.B) {
	k := New(Rate{1000, time.Second}, 0, 1000)
	keys := make([]string, 1<<14)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		k.Allow(keys[i%len(keys)])
		i++
	}
}

func TestReserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := New(Rate{2, time.Second}, 0, 0)
		reserve := func(want time.Duration, ok bool) {
			t.Helper()
			if wait, had := k.Reserve("a", time.Second); wait != want || had != ok {
				t.Errorf("wait %s, %t; want %s, %t", wait, had, want, ok)
			}
		}
		reserve(0, true)
		reserve(0, true)
		reserve(time.Second/2, true)
		reserve(time.Second, true)
		for range 10 { // a refused call takes no token
			reserve(0, false)
		}
		if wait, ok := k.Reserve("b", 0); wait != 0 || !ok {
			t.Errorf("another key: wait %s, %t; want 0, true", wait, ok)
		}
		time.Sleep(time.Second / 2)
		reserve(time.Second, true)
		if wait, ok := New(Rate{}, 0, 0).Reserve("a", 0); wait != 0 || !ok {
			t.Errorf("without a limit: wait %s, %t; want 0, true", wait, ok)
		}
	})
}
