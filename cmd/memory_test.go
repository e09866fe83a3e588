package cmd

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"imctl/kv"
)

func TestGoMemory(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for limit, want := range map[uint64]uint64{0: 0, 32 * mb: 16 * mb, 48 * mb: 24 * mb, 80 * mb: 56 * mb, 1000 * mb: 900 * mb} {
		if got := goMemory(limit); got != want {
			t.Errorf("cgroup of %d MiB: got %d MiB, want %d MiB", limit/mb, got/mb, want/mb)
		}
	}
}

// A small limit leaves room for the rest of the server: fewer hashes at once, and hashes with less memory. Parameters
// that the operator chose stay.
func TestHashesFit(t *testing.T) {
	t.Parallel()
	c := Defaults()
	for limit, want := range map[int64]hashCost{math.MaxInt64: {19 * MiB, 2}, 64 << 20: {19 * MiB, 2}, 40 << 20: {12 * MiB, 3}, 24 << 20: {7 * MiB, 5}, 1: {7 * MiB, 5}} {
		if got := hashCostOf(limit, c); got != want {
			t.Errorf("limit %d: got %v, want %v", limit, got, want)
		}
	}
	c.Passwords.Memory = 64 * MiB
	if got, want := hashCostOf(24<<20, c), (hashCost{64 * MiB, 2}); got != want {
		t.Errorf("configured parameters: got %v, want %v", got, want)
	}
	for limit, want := range map[int64]int{math.MaxInt64: kv.HashingPlaces(), 24 << 20: 1, 1: 1} {
		if got := hashingPlaces(limit, 19<<20); got != want {
			t.Errorf("limit %d: %d hashes at once, want %d", limit, got, want)
		}
	}
	if got := hashingPlaces(200<<20, 100<<20); got != 1 {
		t.Errorf("%d hashes of half the limit at once, want 1", got)
	}
}

// Budgets of the configuration stay within their share of a small limit. 0, no limit, stays.
func TestBudgetsFit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit      int64
		configured Size
		want       int64
	}{{math.MaxInt64, 256 * MiB, 256 << 20}, {64 << 20, 256 * MiB, 16 << 20}, {64 << 20, 8 * MiB, 8 << 20}, {64 << 20, 0, 0}} {
		if got := shareOf(test.limit, test.configured, waitingShare); got != test.want {
			t.Errorf("%v of limit %d: got %d, want %d", test.configured, test.limit, got, test.want)
		}
	}
	if many, few := rememberedLogins(math.MaxInt64), rememberedLogins(24<<20); many != 1<<16 || few >= many || few < 1<<10 {
		t.Errorf("%d and %d verified credentials are remembered", many, few)
	}
}

// Near the limit, a reservation collects the memory of the hash before. Without a limit it does nothing.
func TestReserveForHash(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	const size = 64 << 20
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		reserveForHash(size)
		n := m.NumGC
		runtime.ReadMemStats(&m)
		return m.NumGC - n
	}
	if n := collections(); n != 0 {
		t.Errorf("%d collections without a limit", n)
	}
	debug.SetMemoryLimit(int64(memoryUsed()) + size/2)
	if collections() == 0 {
		t.Error("no collection at the limit")
	}
	debug.SetMemoryLimit(int64(memoryUsed()) + 4*size)
	if n := collections(); n != 0 {
		t.Errorf("%d collections far from the limit", n)
	}
}
