package cmd

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
)

// The collector runs, unless told otherwise, whenever the heap has doubled. For a small server that is every few
// milliseconds under load, and for one with many connections or accounts it is as much memory again as it needs. So the
// heap is given a room that is about the same at any size, within limits.
const (
	gcRoom  = 48 << 20 // bytes the heap may grow by before it is collected
	gcLeast = 50       // percent of what is live
	gcMost  = 400
)

// gcPercent is how much the heap may grow by, in percent of the bytes that are live.
func gcPercent(live uint64) int {
	if live == 0 {
		return gcMost
	}
	return int(min(max(gcRoom*100/live, gcLeast), gcMost))
}

// tuneGC adapts the collector to the heap after each of its runs, until stop is called. Whoever has set GOGC is left
// alone.
func tuneGC(environ []string) (stop func()) {
	for _, e := range environ {
		if strings.HasPrefix(e, "GOGC=") {
			return func() {}
		}
	}
	before := debug.SetGCPercent(gcMost)
	var stopped atomic.Bool
	var arm func()
	adapt := func(struct{}) {
		if stopped.Load() {
			return
		}
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		debug.SetGCPercent(gcPercent(live[0].Value.Uint64()))
		arm()
	}
	// A thing that nobody holds is cleaned up after the next run of the collector.
	arm = func() { runtime.AddCleanup(new([16]byte), adapt, struct{}{}) }
	arm()
	return func() { stopped.Store(true); debug.SetGCPercent(before) }
}
