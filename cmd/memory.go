package cmd

import (
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"imctl/kv"
)

// A container has a limit, and the kernel kills the process when its memory, the pages of its program and its sockets
// do not fit. So the Go runtime gets a soft limit (GOMEMLIMIT): nearer to it, it collects garbage more often.

// outsideGo is the memory that a small limit reserves for what the Go runtime does not count, in bytes: the pages of
// the program that are in use, cached pages of the data, sockets and page tables.
const outsideGo = 24 << 20

// smallMemory is the memory limit below which the pages of the program matter, in bytes.
const smallMemory = 256 << 20

// goMemory returns the soft limit of the Go runtime for a memory limit of the process, both in bytes.
func goMemory(limit uint64) uint64 { return max(limit/2, min(limit/10*9, limit-min(limit, outsideGo))) }

// limitMemory sets the soft limit of the Go runtime to a part of the cgroup's memory limit, unless the environment sets
// GOMEMLIMIT. stop restores the limit that was set before.
func limitMemory(log *slog.Logger) (stop func()) {
	before := debug.SetMemoryLimit(-1)
	provider := func() (uint64, error) {
		limit, err := memlimit.FromCgroup()
		return goMemory(limit), err
	}
	if _, err := memlimit.Set(memlimit.WithProvider(provider), memlimit.WithRatio(1)); err != nil {
		log.Warn("cannot read the memory limit of the cgroup; set GOMEMLIMIT if there is one", "err", err)
	}
	if memoryLimit() < smallMemory {
		if err := readProgramByPage(); err != nil {
			log.Debug("read the program by pages", "err", err)
		}
	}
	return func() { debug.SetMemoryLimit(before) }
}

// memoryLimit returns the soft limit of the Go runtime in bytes, math.MaxInt64 for none.
func memoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// The shares of the soft limit that hashes, bodies of requests, waiting dialogues and large answers to logins may use.
const (
	hashingShare = 2
	bodiesShare  = 8
	waitingShare = 4
	loginsShare  = 8
)

// hashCost is a pair of parameters of argon2id.
type hashCost struct {
	memory Size
	passes int
}

// hashCosts are parameters that OWASP's Password Storage Cheat Sheet lists as equally strong, with the default first.
var hashCosts = []hashCost{{19 * MiB, 2}, {12 * MiB, 3}, {9 * MiB, 4}, {7 * MiB, 5}}

// hashCostOf returns the parameters of new hashes. If a hash of the default parameters takes more than a third of the
// soft limit, it returns parameters of the same strength with less memory. It does not change other parameters.
func hashCostOf(limit int64, c *Config) hashCost {
	cost := hashCost{c.Passwords.Memory, c.Passwords.Passes}
	if cost != hashCosts[0] {
		return cost
	}
	for _, cost = range hashCosts {
		if int64(cost.memory) <= limit/3 {
			break
		}
	}
	return cost
}

// hashingPlaces returns how many hashes of that many bytes may run at once: those that fit into their share of the soft
// limit, at least one.
func hashingPlaces(limit, bytes int64) int {
	return int(max(1, min(int64(kv.HashingPlaces()), limit/hashingShare/max(bytes, 1))))
}

// shareOf returns a budget of the configuration, in bytes, within its share of the soft limit. 0 is no limit, and stays.
func shareOf(limit int64, configured Size, share int64) int64 {
	return min(int64(configured), limit/share)
}

// rememberedLogins returns how many verified credentials to keep in memory. Each takes about 150 bytes.
func rememberedLogins(limit int64) int { return int(min(1<<16, max(1<<10, limit>>11))) }

// reserveForHash makes room for a hash of that many bytes. Its memory is garbage at once when it is done, and the runtime
// would allocate the next one before it has collected that. Two do not fit into a small container.
func reserveForHash(bytes uint64) {
	limit := memoryLimit()
	if limit == math.MaxInt64 {
		return
	}
	if memoryUsed()+bytes > uint64(limit) {
		runtime.GC()
	}
}

// memoryUsed returns the bytes that count for the soft limit, except those that are free for allocation.
func memoryUsed() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64() - samples[2].Value.Uint64()
}

// reportMemory logs the memory limit and what follows from it. It logs a warning if a hash does not fit.
func reportMemory(log *slog.Logger, c *Config) {
	limit := memoryLimit()
	if limit == math.MaxInt64 {
		return
	}
	cost := hashCostOf(limit, c)
	log.Info("memory limit", "gomemlimit", Size(limit).String(), "hash_memory", cost.memory.String(), "hashes_at_once", hashingPlaces(limit, int64(cost.memory)))
	if int64(cost.memory) > limit/10*9 {
		log.Warn("a hash takes more memory than this process may use; lower passwords.memory or raise the memory limit",
			"hash_memory", cost.memory.String(), "gomemlimit", Size(limit).String())
	}
}
