package gateway

import (
	"context"
	"sync"
	"time"

	"imctl/bridge/delivery"
)

// news tells the friends of users of gateways that these come online and go offline. One goroutine reads the rosters. The
// queue has each user once, with its latest state.
type news struct {
	opts Options
	done chan struct{}

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []string
	online map[string]bool // of the users in queue
	closed bool
}

// rosterTimeout bounds the read of a roster.
const rosterTimeout = 5 * time.Second

func newNews(opts Options) *news {
	n := &news{opts: opts, done: make(chan struct{}), online: make(map[string]bool)}
	n.wake = sync.NewCond(&n.mu)
	go n.run()
	return n
}

func (n *news) add(online bool, users ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, user := range users {
		if _, queued := n.online[user]; !queued {
			n.queue = append(n.queue, user)
		}
		n.online[user] = online
	}
	n.wake.Signal()
}

// close returns after the news that are queued.
func (n *news) close() {
	n.mu.Lock()
	n.closed = true
	n.wake.Signal()
	n.mu.Unlock()
	<-n.done
}

func (n *news) run() {
	defer close(n.done)
	for {
		n.mu.Lock()
		for len(n.queue) == 0 && !n.closed {
			n.wake.Wait()
		}
		if len(n.queue) == 0 {
			n.mu.Unlock()
			return
		}
		user := n.queue[0]
		n.queue = n.queue[1:]
		online := n.online[user]
		delete(n.online, user)
		n.mu.Unlock()
		n.tell(user, online)
	}
}

// tell tells the friends of a user.
func (n *news) tell(user string, online bool) {
	ctx, cancel := context.WithTimeout(context.Background(), rosterTimeout)
	defer cancel()
	roster, _, err := n.opts.Store.Rosters.Get(ctx, user)
	if err != nil {
		n.opts.Logger.Debug("tell the friends of a gateway's user", "user", user, "err", err) // their next login shows it
		return
	}
	friends := make([]string, 0, len(roster.Friends))
	for _, f := range roster.Friends {
		if !delivery.RelationOf(roster, f.ID).Hidden() {
			friends = append(friends, f.ID)
		}
	}
	n.opts.Presence.Announce(user, friends, online)
}
