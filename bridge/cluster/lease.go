package cluster

import (
	"math"
	"sync/atomic"
	"time"
)

// In a cluster of NATS servers a node may be cut off together with its NATS server, and go on to deliver dialogues
// between its own users, although the other nodes have struck it off the list and answer changes that it does not
// know. So a node holds a lease, and considers its rosters fresh only while the lease runs. The rules are exact: a lease
// ends before any node may have struck its holder off the list.
//
//   - A node is struck off only after it has answered nothing for strikeAfter. From the beginning of that time on the
//     striking node answers the other one's heartbeats with a doubt.
//   - A node renews its lease by a heartbeat that all nodes on its list answer without a doubt, from the time when it
//     sent the heartbeat. So each of these nodes began to doubt it after that time, if at all, and strikes it off
//     strikeAfter later, which is more than leaseTime. No leader is needed.
//   - Else the node renews its lease by a new registration, from the time before it was written. Each registration has a
//     key of its own, and a node strikes off only registrations that it knew strikeAfter before. So the new one stays
//     listed for that long, whatever the others do. The list that it then reads has its own new registration, so nodes
//     that are not on that list cannot strike it off before they have registered again and told it.
//   - A node that has started while this one was cut off is not on this one's list, and this one's heartbeats do not
//     reach it. So it waits strangerAfter instead of strikeAfter before it strikes off a node that has never answered
//     it. Heartbeats renew a lease only if the list was read within listFor. A leader that is cut off answers reads
//     for less than staleFor. So by the end of strangerAfter the other node has read a list with the new node, or its
//     lease has ended.
//   - A lease that has ended is renewed by a registration only. If the registration before is no longer listed then, the
//     node was struck off, and catches up before it serves. If it is listed, each change that was answered meanwhile
//     waited for this node, and the node has missed nothing.
//   - Only a node whose own lease runs strikes nodes off, since the others ignore a node that is not listed.
//
// With one NATS server a node that does not listen has no connection to NATS at all, and cannot deliver anything. It is
// struck off at once, and needs no lease.
const (
	leaseTime     = 3 * time.Second
	strikeAfter   = 4 * time.Second
	listEvery     = 5 * time.Second
	listFor       = 30 * time.Second
	staleFor      = 20 * time.Second
	strangerAfter = listFor + staleFor + strikeAfter
)

// unlimited is the end of a lease that is not needed.
const unlimited = math.MaxInt64

// Lease is the time for which a node may consider its rosters fresh.
type Lease struct {
	base  time.Time
	until atomic.Int64 // nanoseconds after base
}

// NewLease returns a lease without an end, for a node on a single NATS server.
func NewLease() *Lease {
	l := &Lease{base: time.Now()}
	l.until.Store(unlimited)
	return l
}

// Runs reports whether the lease has not ended. It is called for every dialogue. It compares the time instead of being
// told by a timer, so that it is right in a process that was stopped and goes on.
func (l *Lease) Runs() bool {
	until := l.until.Load()
	return until == unlimited || int64(time.Since(l.base)) < until
}

// Limited reports whether a lease is needed.
func (l *Lease) Limited() bool { return l.until.Load() != unlimited }

// extend makes the lease last for leaseTime from the time from on, if it lasts no longer already.
func (l *Lease) extend(from time.Time) {
	until := int64(from.Add(leaseTime).Sub(l.base))
	for {
		old := l.until.Load()
		if old != unlimited && old >= until || l.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// lift makes the lease unlimited.
func (l *Lease) lift() { l.until.Store(unlimited) }
