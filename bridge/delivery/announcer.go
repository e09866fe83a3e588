package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"imctl/bridge/recovery"
	"imctl/bridge/wire"
)

// announcer tells friends of users that come online and go offline. It announces one change after the other, so that a
// user that goes and comes back at once is not seen in the wrong order. The queue is bounded by the number of sessions:
// a change and its opposite cancel out, unless another node may have announced only one of them. A change stays in the
// queue while the announcer checks it.
type announcer struct {
	lane    *lane
	alone   func() bool
	offline func(user string) bool // has no session and no client anywhere
	notify  func(*announcement)
	log     presenceLog // nil: none
	checks  rechecks
	done    chan struct{}

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []*announcement
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
	a.offline, a.notify = a.isOffline, a.notifyFriends
	a.wake = sync.NewCond(&a.mu)
	go a.run()
	return a
}

func (a *announcer) add(n *announcement) {
	if len(n.friends) == 0 && !a.logged() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if queued := a.of[n.user]; queued > 0 {
		ofUser := func(q *announcement) bool { return q.user == n.user }
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
	for n := a.next(); n != nil; n = a.next() {
		a.announce(n)
		a.take(n) // after a panic it is still queued
	}
}

// next waits for an announcement and returns it, still queued, or nil after close.
func (a *announcer) next() *announcement {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) == 0 && !a.closed {
		a.wake.Wait()
	}
	if len(a.queue) == 0 {
		return nil
	}
	return a.queue[0]
}

// take removes the first announcement from the queue. It reports whether that was n: a later one may have replaced n or
// cancelled it.
func (a *announcer) take(n *announcement) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 || a.queue[0] != n {
		return false
	}
	a.queue[0], a.queue = nil, a.queue[1:]
	if a.of[n.user]--; a.of[n.user] == 0 {
		delete(a.of, n.user)
	}
	return true
}

func (a *announcer) announce(n *announcement) {
	defer recovery.Log(a.lane.log, "presence")
	// The last session here may have ended, and there may be others elsewhere, or a new one here.
	valid := n.online || a.offline(n.user)
	if !a.take(n) || !valid {
		return
	}
	a.notify(n)
	a.record(n.user, n.online)
	if n.online {
		return
	}
	// A session that began meanwhile may have been announced before this. The last announcement must be that the user
	// is online.
	if online, err := a.isOnline(n.user); err == nil && online {
		a.notify(&announcement{user: n.user, friends: n.friends, online: true})
	}
}

// isOffline reports whether a user is offline. A probe that is refused, or not answered, tells of the time when it was
// sent, and the user may be back.
func (a *announcer) isOffline(user string) bool {
	asked := time.Now()
	online, err := a.isOnline(user)
	if err == nil && !online && time.Since(asked) >= interestDelay && !a.lane.flights.covered() {
		online, err = a.isOnline(user)
	}
	return err == nil && !online
}

func (a *announcer) isOnline(user string) (bool, error) {
	online, err := a.lane.flights.online(context.Background(), []string{user})
	return err == nil && online[0], err
}

func (a *announcer) notifyFriends(n *announcement) {
	frame := wire.AppendPresence(nil, n.user, n.online)
	for _, id := range n.friends {
		if a.lane.notices.Notify(id, frame) != nil {
			return // NATS is unreachable, and with it the presence of all users
		}
	}
}
