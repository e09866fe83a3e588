package delivery

import (
	"context"
	"slices"
	"sync"

	"imctl/bridge/recovery"
	"imctl/bridge/wire"
)

// announcer tells friends of users that come online and go offline. It announces one change after the other, so that a
// user that goes and comes back at once is not seen in the wrong order. The queue is bounded by the number of sessions:
// a change and its opposite cancel out, unless another node may have announced only one of them.
type announcer struct {
	lane   *lane
	alone  func() bool
	log    presenceLog // nil: none
	checks rechecks
	done   chan struct{}

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []announcement
	of     map[string]int // queued announcements of each user
	closed bool
}

type announcement struct {
	user    string
	friends []string
	online  bool
}

func newAnnouncer(l *lane, alone func() bool, log presenceLog) *announcer {
	a := &announcer{lane: l, alone: alone, log: log, done: make(chan struct{}), of: make(map[string]int)}
	a.wake = sync.NewCond(&a.mu)
	go a.run()
	return a
}

func (a *announcer) add(n announcement) {
	if len(n.friends) == 0 && !a.logged() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if queued := a.of[n.user]; queued > 0 {
		ofUser := func(q announcement) bool { return q.user == n.user }
		first := slices.IndexFunc(a.queue, ofUser)
		undone, alone := a.queue[first].online != n.online, a.alone()
		if queued == 2 || !undone || alone {
			a.queue = slices.DeleteFunc(a.queue, ofUser)
			delete(a.of, n.user)
		}
		if queued == 1 && undone && alone {
			return
		}
	}
	a.of[n.user]++
	a.queue = append(a.queue, n)
	a.wake.Signal()
}

// close returns after the queued announcements are made.
func (a *announcer) close() {
	a.mu.Lock()
	a.closed = true
	a.wake.Signal()
	a.mu.Unlock()
	<-a.done
	a.checks.close()
}

func (a *announcer) run() {
	defer close(a.done)
	for {
		a.mu.Lock()
		for len(a.queue) == 0 && !a.closed {
			a.wake.Wait()
		}
		if len(a.queue) == 0 {
			a.mu.Unlock()
			return
		}
		n := a.queue[0]
		a.queue = a.queue[1:]
		if a.of[n.user]--; a.of[n.user] == 0 {
			delete(a.of, n.user)
		}
		a.mu.Unlock()
		a.announce(n)
	}
}

func (a *announcer) announce(n announcement) {
	defer recovery.Log(a.lane.log, "presence")
	if n.online {
		a.notify(n)
		a.record(n.user, true)
		return
	}
	// The last session here has ended. There may be others elsewhere, or a new one here.
	if online, err := a.isOnline(n.user); err != nil || online {
		return
	}
	a.notify(n)
	a.record(n.user, false)
	// A session that began meanwhile may have been announced before this. The last announcement must be that the user
	// is online.
	if online, err := a.isOnline(n.user); err == nil && online {
		n.online = true
		a.notify(n)
	}
}

func (a *announcer) isOnline(user string) (bool, error) {
	online, err := a.lane.flights.online(context.Background(), []string{user})
	return err == nil && online[0], err
}

func (a *announcer) notify(n announcement) {
	frame := wire.AppendPresence(nil, n.user, n.online)
	for _, id := range n.friends {
		if a.lane.notices.Notify(id, frame) != nil {
			return // NATS is unreachable, and with it the presence of all users
		}
	}
}
