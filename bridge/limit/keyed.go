// Package limit enforces rate limits: per client address or account ([Keyed]), and per session ([Session]).
// [ClientKey] returns the client address of a request, which is the key of most limits.
package limit

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// DefaultSize is the default number of keys that a Keyed remembers. All of them together take about 20 MB.
const DefaultSize = 1 << 16

// Rate is a number of events in a span of time. A Rate without events or span, such as the zero value, does not limit.
type Rate struct {
	Events int
	Per    time.Duration
}

// bucket returns the fill rate and the size of the token bucket that enforces r.
func (r Rate) bucket(burst int) (rate.Limit, int) {
	if r.Events <= 0 || r.Per <= 0 {
		return rate.Inf, 0
	}
	if burst <= 0 {
		burst = r.Events
	}
	return rate.Limit(float64(r.Events) / r.Per.Seconds()), burst
}

// Keyed has a token bucket for each key, which starts full. At its maximum size it evicts the least recently used key.
// An evicted key starts again with a full bucket. All methods are safe for concurrent use.
//
// Allow counts every attempt. If only some outcomes count (failed logins, successful registrations), call Peek before
// the work and Take after it.
type Keyed struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex // guards buckets; each bucket has its own lock
	buckets *simplelru.LRU[string, *rate.Limiter]
}

// New returns a Keyed with at most size buckets (0: DefaultSize) of burst tokens each (0: r.Events).
func New(r Rate, burst, size int) *Keyed {
	if size <= 0 {
		size = DefaultSize
	}
	buckets, err := simplelru.NewLRU[string, *rate.Limiter](size, nil)
	if err != nil {
		panic(err) // impossible: the only error is a size below 1
	}
	k := &Keyed{buckets: buckets}
	k.limit, k.burst = r.bucket(burst)
	return k
}

// Allow takes a token for key and reports whether one was available.
func (k *Keyed) Allow(key string) bool {
	b := k.bucket(key, true)
	return b == nil || b.Allow()
}

// Peek reports whether a token for key is available, as Allow would, but does not take it. Several callers may see the
// same token.
func (k *Keyed) Peek(key string) bool {
	b := k.bucket(key, false)
	if b == nil {
		return true
	}
	missing := 1 - b.Tokens()
	// Like the limiter, count in whole nanoseconds: a token that is missing only by a rounding error is available.
	return missing <= 0 || missing/float64(b.Limit())*float64(time.Second) < 1
}

// Take takes a token for key, even if none is available. The bucket may become negative and must refill before Allow
// and Peek return true again. Callers that saw the same token therefore keep to the rate on average.
func (k *Keyed) Take(key string) {
	if b := k.bucket(key, true); b != nil {
		b.Reserve()
	}
}

// Reserve takes a token for key and returns how long to wait until it is available. If that exceeds maxWait, it takes
// no token and returns false.
func (k *Keyed) Reserve(key string, maxWait time.Duration) (wait time.Duration, ok bool) {
	b := k.bucket(key, true)
	if b == nil {
		return 0, true
	}
	now := time.Now()
	r := b.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > maxWait {
		r.CancelAt(now)
		return 0, false
	}
	return wait, true
}

// bucket returns the bucket of key. If there is none, it creates one or, without create, returns nil. It always
// returns nil if there is no limit.
func (k *Keyed) bucket(key string, create bool) *rate.Limiter {
	if k.limit == rate.Inf {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// Get counts as use, so a client that keeps retrying with an empty bucket is not evicted and given a full one.
	b, ok := k.buckets.Get(key)
	if !ok && create {
		b = rate.NewLimiter(k.limit, k.burst)
		// A copy, since the key may be part of a large request, which it would keep in memory.
		k.buckets.Add(strings.Clone(key), b)
	}
	return b
}
