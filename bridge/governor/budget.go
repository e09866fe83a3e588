package governor

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Rate is a number of events in a span of time. A Rate without events or span, such as the zero value, does not limit.
type Rate struct {
	Events int
	Per    time.Duration
}

// none reports whether the rate does not limit.
func (r Rate) none() bool { return r.Events <= 0 || r.Per <= 0 }

// times returns a rate with n times the events.
func (r Rate) times(n int) Rate { return Rate{r.Events * n, r.Per} }

// divided returns a rate of which each event takes n of r, or all of r if it has fewer. The events of both may be
// counted on one budget.
func (r Rate) divided(n int) Rate {
	if r.none() {
		return r
	}
	return Rate{max(r.Events/n, 1), r.Per}
}

// interval returns the time after which one more event is allowed.
func (r Rate) interval() time.Duration { return max(r.Per/time.Duration(r.Events), 1) }

// tableSize bounds the budgets of clients, accounts and users that are remembered. All together take about 20 MB.
const tableSize = 1 << 17

// maxKey is the length of the longest key that is kept as it is. A longer one is kept as its hash.
const maxKey = 64

// table has the budgets of all keys. At its maximum size it evicts the least recently used one. An evicted budget is
// full again. It is safe for concurrent use.
//
// A budget is one point in time, as in the generic cell rate algorithm (ITU-T I.371): the time at which all events so
// far would have been spent at the sustained rate. A change of the rate needs no change of the table. No budget is
// ever overdrawn: an event that does not fit is not counted.
type table struct {
	mu    sync.Mutex
	spent *simplelru.LRU[tableKey, time.Time]
}

// tableKey is a key of one kind of budget.
type tableKey struct {
	reason Reason
	key    string
}

func newTable(size int) *table {
	spent, err := simplelru.NewLRU[tableKey, time.Time](size, nil)
	if err != nil {
		panic(err) // impossible: the only error is a size below 1
	}
	return &table{spent: spent}
}

func keyOf(reason Reason, key string) tableKey {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = string(sum[:])
	}
	return tableKey{reason, key}
}

// take counts an event at now. If the budget has no room for it, take counts nothing and returns how long to wait, and
// false. With patience, an event that has room within that time counts, and take returns the wait and true.
func (t *table) take(reason Reason, key string, r Rate, now time.Time, patience time.Duration) (wait time.Duration, ok bool) {
	if r.none() {
		return 0, true
	}
	k, interval := keyOf(reason, key), r.interval()
	t.mu.Lock()
	defer t.mu.Unlock()
	// Get counts as use, so a client that retries with an empty budget is not evicted and given a full one.
	spent, known := t.spent.Get(k)
	if spent.Before(now) {
		spent = now
	}
	spent = spent.Add(interval)
	if wait = spent.Sub(now) - interval*time.Duration(r.Events); wait > patience {
		return wait, false
	}
	if !known {
		k.key = strings.Clone(k.key) // the key may be part of a large request, which it would keep in memory
	}
	t.spent.Add(k, spent)
	return max(wait, 0), true
}

// refund takes back an event that was counted.
func (t *table) refund(reason Reason, key string, r Rate) {
	if r.none() {
		return
	}
	k := keyOf(reason, key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if spent, known := t.spent.Get(k); known {
		t.spent.Add(k, spent.Add(-r.interval()))
	}
}

// charge is an event that was counted, and that may be taken back.
type charge struct {
	reason Reason
	key    string
	rate   Rate
}

// wideShare is how many times the rate of one /64 network the /48 network around it has: a /48 is one site, with many
// networks that one client may use in turn.
const wideShare = 4

// network returns the /48 network of an IPv6 client, and "" for any other.
func network(address string) string {
	p, err := netip.ParsePrefix(address)
	if err != nil || p.Addr().Is4() {
		return ""
	}
	wide, err := p.Addr().Prefix(48)
	if err != nil {
		return ""
	}
	return wide.String()
}

// byAddress returns the charges for one event of a client: its own, and that of the network around it.
func byAddress(reason Reason, address string, r Rate) []charge {
	charges := []charge{{reason, address, r}}
	if wide := network(address); wide != "" {
		charges = append(charges, charge{reason, wide, r.times(wideShare)})
	}
	return charges
}

// takeAll counts an event on each of the charges, or on none. It returns the charge without room, and how long to wait.
func (t *table) takeAll(now time.Time, charges ...charge) (full charge, wait time.Duration, ok bool) {
	for i, c := range charges {
		if wait, ok := t.take(c.reason, c.key, c.rate, now, 0); !ok {
			t.refundAll(charges[:i])
			return c, wait, false
		}
	}
	return charge{}, 0, true
}

func (t *table) refundAll(charges []charge) {
	for _, c := range charges {
		t.refund(c.reason, c.key, c.rate)
	}
}
