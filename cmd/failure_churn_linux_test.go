package cmd

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

const (
	// churnPace is the time between two calls of a churn, and between two permits for three dialogues.
	churnPace = 150 * time.Millisecond
	// churnCalls and churnDoubts bound the history of one round, and with them the time to check it: a round ends after
	// so many calls, or so many calls without a known outcome.
	churnCalls, churnDoubts = 60, 10
	// churnRounds is how many rounds a churn has users for.
	churnRounds = 5
	// churnCheck bounds the check of one round.
	churnCheck = 20 * time.Second
)

// churn is load beside the dialogues: two users who befriend and remove each other and talk on all nodes, and clients
// that register the same accounts. After some calls other users take over.
type churn struct {
	w      *world
	rounds []*churnRound
	stop   chan struct{}
	done   sync.WaitGroup
}

type churnRound struct {
	load *clientLoad
	pair userPair
	work sync.WaitGroup
}

// startChurn registers the users, on a healthy site, and starts the load.
func (x *failureRun) startChurn(t *testing.T) *churn {
	t.Helper()
	c := &churn{w: x.w, stop: make(chan struct{})}
	for range churnRounds {
		load := &clientLoad{w: x.w, nodes: siteNodes, began: time.Now(), calls: make(chan struct{}), talks: make(chan struct{}), http: x.site.http}
		c.rounds = append(c.rounds, &churnRound{load: load, pair: load.newPair(t)})
	}
	c.done.Go(func() {
		for i, r := range c.rounds {
			r.start(uint64(i))
			more := r.permit(c.stop)
			close(r.load.calls)
			close(r.load.talks)
			if !more { // calls that hang end later
				return
			}
		}
		<-c.stop
	})
	return c
}

// start starts the clients.
func (r *churnRound) start(seed uint64) {
	random := func() *rand.Rand { seed += churnRounds; return rand.New(rand.NewPCG(seed, 3)) }
	for range 2 {
		src := random()
		r.work.Go(func() { r.load.change(r.pair, src) })
	}
	for who := range 2 {
		for node := range siteNodes {
			src := random()
			r.work.Go(func() { r.load.talk(r.pair, who, node, src) })
		}
	}
	var accounts []string
	for range 6 {
		accounts = append(accounts, fresh("contested"))
	}
	for range 2 {
		src := random()
		r.work.Go(func() { r.load.register(src, accounts) })
	}
}

// permit issues permits until the round has enough calls. It returns false if stop was closed. While all clients
// hang, permits are dropped.
func (r *churnRound) permit(stop <-chan struct{}) bool {
	tick := time.NewTicker(churnPace)
	defer tick.Stop()
	for calls := 0; calls < churnCalls && r.load.history.unanswered() < churnDoubts; {
		select {
		case <-stop:
			return false
		case <-tick.C:
		}
		select {
		case r.load.calls <- struct{}{}:
			calls++
		default:
		}
		for range 3 {
			select {
			case r.load.talks <- struct{}{}:
			default:
			}
		}
	}
	return true
}

// end ends the load, on a healthy site. It lets the users look at the result on all nodes, and checks the histories.
func (c *churn) end(t *testing.T) {
	t.Helper()
	close(c.stop)
	c.done.Wait()
	for _, r := range c.rounds {
		r.work.Wait()
		if len(r.load.history.complete()) == 4 { // two users, registered and logged in
			continue // the round has not begun
		}
		for who := range 2 {
			for node := range siteNodes {
				eventually(t, "a login", func() bool {
					tunnel := r.load.logIn(r.pair, who, node)
					if tunnel != nil {
						tunnel.ws.Close()
					}
					return tunnel != nil
				})
			}
		}
		r.load.checkValid(t, churnCheck)
	}
}
