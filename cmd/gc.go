package cmd

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"time"
)

// By default, a garbage collection starts when the heap has doubled. A small server under load would collect every few
// milliseconds, and a server with many connections or accounts would need twice its live memory. So the heap may grow
// by about the same number of bytes at any size, within limits.
const (
	gcHeadroom   = 48 << 20 // bytes by which the heap may grow before a collection
	minGCPercent = 50       // percent of the live heap
	maxGCPercent = 400
)

// gcPercent returns by how much the heap may grow, in percent of the live bytes.
func gcPercent(live uint64) int {
	if live == 0 {
		return maxGCPercent
	}
	return int(min(max(gcHeadroom*100/live, minGCPercent), maxGCPercent))
}

// The Go runtime collects an idle process only every two minutes, and returns freed memory to the system even later.
// So a server that becomes idle, for example after many logins, would keep the memory. Once it allocates little, it
// collects the heap and returns the memory, if that frees enough.
const (
	idleInterval  = time.Second
	idleAllocs    = 4 << 20  // an idle process allocates fewer bytes in idleInterval
	minReclaimed  = 16 << 20 // garbage and free memory that make a collection worthwhile, in bytes
	reclaimedPart = 8        // and at least 1/8 of the live heap, since a collection scans it
)

// tuneGC adapts the garbage collector to the heap after each collection, until stop is called. It does nothing if the
// environment sets GOGC.
func tuneGC(environ []string) (stop func()) {
	for _, e := range environ {
		if strings.HasPrefix(e, "GOGC=") {
			return func() {}
		}
	}
	before := debug.SetGCPercent(maxGCPercent)
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
	// The cleanup of an unreachable object runs after the next collection.
	arm = func() { runtime.AddCleanup(new([16]byte), adapt, struct{}{}) }
	arm()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); reclaimWhenIdle(done) }()
	return func() {
		stopped.Store(true)
		close(done)
		<-ended
		debug.SetGCPercent(before)
	}
}

// reclaimWhenIdle collects the heap and returns memory to the system when the process has become idle, until done is
// closed.
func reclaimWhenIdle(done <-chan struct{}) {
	tick := time.NewTicker(idleInterval)
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
		if allocated-before < idleAllocs && objects+free > live+max(minReclaimed, live/reclaimedPart) {
			debug.FreeOSMemory()
		}
		before = allocated
	}
}
