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
// Beside other nodes, one of these may have stored that the user came online before this node has stored that it went
// offline. So this node looks again after the latter.
func (a *announcer) record(user string, online bool) {
	if !a.logged() {
		return
	}
	var done eventlog.Done
	if !online && !a.alone() {
		done = offlineStored{a, user}
	}
	a.log.Presence(user, online, done)
}

// offlineStored is told when the entry that a user went offline is stored.
type offlineStored struct {
	a    *announcer
	user string
}

// Logged implements eventlog.Done. It does not wait.
func (o offlineStored) Logged(bool) { o.a.checks.add(o.user, o.a.recheck) }

// recheck writes which of these users are online after all.
func (a *announcer) recheck(users []string) {
	defer recovery.Log(a.lane.log, "presence")
	online, err := a.lane.flights.online(context.Background(), users)
	if err != nil {
		return // NATS is unreachable
	}
	for i, user := range users {
		if online[i] {
			a.log.Presence(user, true, nil)
		}
	}
}

// recheckAtOnce is how many users are asked at once.
const recheckAtOnce = 256

// rechecks are users whose presence is asked again, by one goroutine while there are some.
type rechecks struct {
	mu      sync.Mutex
	users   []string
	running bool
	wg      sync.WaitGroup
}

// add queues a user for check.
func (r *rechecks) add(user string, check func(users []string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users = append(r.users, user)
	if r.running {
		return
	}
	r.running = true
	r.wg.Go(func() {
		for users := r.next(); len(users) > 0; users = r.next() {
			for some := range slices.Chunk(users, recheckAtOnce) {
				check(some)
			}
		}
	})
}

func (r *rechecks) next() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	users := r.users
	r.users, r.running = nil, len(users) > 0
	return users
}

// wait waits for the goroutine.
func (r *rechecks) wait() { r.wg.Wait() }
