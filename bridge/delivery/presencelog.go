package delivery

import (
	"context"
	"slices"
	"sync"

	"imctl/bridge/eventlog"
	"imctl/bridge/recovery"
)

// presenceLog has entries about users that come online and go offline. eventlog.Log is one.
type presenceLog interface {
	WantsPresence() bool
	Presence(user string, online bool, done eventlog.Done)
}

// logged reports whether the log takes entries about presence.
func (a *announcer) logged() bool { return a.log != nil && a.log.WantsPresence() }

// record writes an entry about a user's presence. The entries of one node are stored in the order of its announcements.
// Beside other nodes, an entry may be stored after that of a later change on another node. So this node looks again
// after each entry.
func (a *announcer) record(user string, online bool) {
	if !a.logged() {
		return
	}
	var done eventlog.Done
	if !a.alone() {
		done = presenceStored{a, user, online}
	}
	a.log.Presence(user, online, done)
}

// presenceStored is told when an entry about presence is stored.
type presenceStored struct {
	a      *announcer
	user   string
	online bool
}

// Logged implements eventlog.Done. It does not wait.
func (p presenceStored) Logged(bool) { p.a.checks.add(p, p.a.recheck) }

// recheck writes another entry about those of these users whose presence is not that of the stored entry.
func (a *announcer) recheck(stored []presenceStored) {
	defer recovery.Log(a.lane.log, "presence")
	users := make([]string, len(stored))
	for i, p := range stored {
		users[i] = p.user
	}
	online, err := a.lane.flights.online(context.Background(), users)
	if err != nil {
		return // NATS is unreachable
	}
	for i, p := range stored {
		if online[i] != p.online {
			a.record(p.user, online[i])
		}
	}
}

// recheckAtOnce is how many users are asked at once.
const recheckAtOnce = 256

// rechecks are entries after which this node looks again, on one goroutine while there are some.
type rechecks struct {
	mu      sync.Mutex
	stored  []presenceStored
	running bool
	closed  bool
	wg      sync.WaitGroup
}

// add queues an entry for check.
func (r *rechecks) add(p presenceStored, check func([]presenceStored)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored = append(r.stored, p)
	if r.running || r.closed {
		return
	}
	r.running = true
	r.wg.Go(func() {
		for stored := r.next(); len(stored) > 0; stored = r.next() {
			for some := range slices.Chunk(stored, recheckAtOnce) {
				check(some)
			}
		}
	})
}

func (r *rechecks) next() []presenceStored {
	r.mu.Lock()
	defer r.mu.Unlock()
	stored := r.stored
	r.stored, r.running = nil, len(stored) > 0
	return stored
}

// close waits for the goroutine. It is not started again.
func (r *rechecks) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wg.Wait()
}
