package hook

import (
	"sync/atomic"
	"time"
)

// breaker stops requests to a moderator that does not answer. It takes no lock: every dialogue asks it twice.
type breaker struct {
	failures atomic.Int32 // in a row
	until    atomic.Int64 // end of the pause, in nanoseconds since 1970; 0: requests are made
	probing  atomic.Bool  // a request is under way that finds out whether the moderator answers again
	absent   atomic.Bool  // no program subscribed to the last request
}

// allow reports whether a request may be made, and whether it is a probe.
func (b *breaker) allow(now time.Time) (ok, probe bool) {
	switch until := b.until.Load(); {
	case until == 0:
		return true, false
	case now.UnixNano() < until:
		return false, false
	}
	return b.probing.CompareAndSwap(false, true), true
}

// succeeded notes an answer. It returns whether the breaker was open and is closed now.
func (b *breaker) succeeded(probe bool) (closed bool) {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
	if probe {
		closed = b.until.Swap(0) != 0
		b.probing.Store(false)
	}
	return closed
}

// failed notes a request without a valid answer. It returns whether the breaker was closed and is open now.
func (b *breaker) failed(now time.Time, probe bool, most int, pause time.Duration) (opened bool) {
	if probe {
		b.until.Store(now.Add(pause).UnixNano())
		b.probing.Store(false)
		return false
	}
	if b.failures.Add(1) < int32(most) {
		return false
	}
	return b.until.CompareAndSwap(0, now.Add(pause).UnixNano())
}

// isOpen reports whether requests are paused, or only probed.
func (b *breaker) isOpen() bool { return b.until.Load() != 0 }
