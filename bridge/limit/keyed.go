// Package limit bounds how often something may happen: for each client address
// or account (Keyed), and within one session (Session). It also says which
// address a request comes from (ClientKey), since that is what most limits count by.
package limit

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// DefaultSize is how many keys a Keyed remembers when it isn't told otherwise:
// some 20 MB when all of them are in use.
const DefaultSize = 1 << 16

// Rate is a number of events in a span of time. One that has no events or no
// span, as the zero value, is no limit at all.
type Rate struct {
	Events int
	Per    time.Duration
}

// bucket gives the fill rate and the size of the token bucket that enforces r.
func (r Rate) bucket(burst int) (rate.Limit, int) {
	if r.Events <= 0 || r.Per <= 0 {
		return rate.Inf, 0
	}
	if burst <= 0 {
		burst = r.Events
	}
	return rate.Limit(float64(r.Events) / r.Per.Seconds()), burst
}

// Keyed holds a token bucket for each key, full at first. It is bounded: past
// its size the key that was asked for least recently is forgotten, and starts
// again with a full bucket when it comes back. All methods are safe for concurrent use.
//
// Allow counts every attempt. Where only some outcomes count (logins that
// failed, registrations that succeeded), Peek before the work and Take after it.
type Keyed struct {
	mu      sync.Mutex // guards everything below; each bucket has a lock of its own
	limit   rate.Limit
	burst   int
	buckets *simplelru.LRU[string, *rate.Limiter]
}

// New makes a Keyed with buckets of burst tokens (0: r.Events), at most size
// of them (0: DefaultSize).
func New(r Rate, burst, size int) *Keyed {
	if size <= 0 {
		size = DefaultSize
	}
	buckets, err := simplelru.NewLRU[string, *rate.Limiter](size, nil)
	if err != nil {
		panic(err) // only a size below 1 is refused
	}
	k := &Keyed{buckets: buckets}
	k.limit, k.burst = r.bucket(burst)
	return k
}

// Allow takes a token for key and reports whether there was one.
func (k *Keyed) Allow(key string) bool {
	b := k.bucket(key, true)
	return b == nil || b.Allow()
}

// Peek reports whether there is a token for key, and takes none: Allow would
// answer the same. Several callers may see the same token.
func (k *Keyed) Peek(key string) bool {
	b := k.bucket(key, false)
	if b == nil {
		return true
	}
	missing := 1 - b.Tokens()
	// Like the limiter, count in whole nanoseconds: a token that is refilled but
	// for a rounding error is there.
	return missing <= 0 || missing/float64(b.Limit())*float64(time.Second) < 1
}

// Take takes a token for key whether there is one or not. What is taken below
// zero has to be refilled before Allow and Peek say yes again, so callers that
// saw the same token still keep to the rate on average.
func (k *Keyed) Take(key string) {
	if b := k.bucket(key, true); b != nil {
		b.Reserve()
	}
}

// Reserve takes a token for key and says how long to wait until it is there, unless that is longer than most: then it
// takes none and reports false.
func (k *Keyed) Reserve(key string, most time.Duration) (wait time.Duration, ok bool) {
	b := k.bucket(key, true)
	if b == nil {
		return 0, true
	}
	now := time.Now()
	r := b.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > most {
		r.CancelAt(now)
		return 0, false
	}
	return wait, true
}

// SetRate changes the rate and the burst for all keys, those in use included,
// which keep the tokens that they have.
func (k *Keyed) SetRate(r Rate, burst int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.limit, k.burst = r.bucket(burst)
	if k.unlimited() {
		k.buckets.Purge()
		return
	}
	for _, b := range k.buckets.Values() {
		b.SetLimit(k.limit)
		b.SetBurst(k.burst)
	}
}

// bucket gives the bucket of key, or nil when there is no limit or, unless it
// is to be made, no bucket.
func (k *Keyed) bucket(key string, create bool) *rate.Limiter {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unlimited() {
		return nil
	}
	// Asking counts as use: whoever keeps knocking on an empty bucket isn't
	// forgotten and let in afresh.
	b, ok := k.buckets.Get(key)
	if !ok && create {
		b = rate.NewLimiter(k.limit, k.burst)
		// A copy, since the key may be a piece of a large request that would be kept with it.
		k.buckets.Add(strings.Clone(key), b)
	}
	return b
}

func (k *Keyed) unlimited() bool { return k.limit == rate.Inf }
