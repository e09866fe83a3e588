package cmd

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"time"
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

// A server that has become quiet, after a storm of logins say, is not collected for two minutes, and holds all
// that time what the storm left, and longer what the collector has freed. So once it allocates little, it is collected
// and the memory given back to the system, if there is enough of it.
const (
	quietFor   = time.Second
	quietMost  = 4 << 20  // bytes allocated in that time
	worthwhile = 16 << 20 // bytes that are garbage, or free, or an eighth of what is live, which a collection has to look at
)

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
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); tidyUp(done) }()
	return func() {
		stopped.Store(true)
		close(done)
		<-ended
		debug.SetGCPercent(before)
	}
}

// tidyUp collects what is left when the process has become quiet, until done is closed.
func tidyUp(done <-chan struct{}) {
	tick := time.NewTicker(quietFor)
	defer tick.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}}
	var before uint64
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		allocated, live, objects, free := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64(), samples[3].Value.Uint64()
		if allocated-before < quietMost && objects+free > live+max(worthwhile, live/8) {
			debug.FreeOSMemory()
		}
		before = allocated
	}
}
