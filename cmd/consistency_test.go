package cmd

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// loadSize is the size of a run.
type loadSize struct {
	pairs int           // pairs of users
	kills int           // number of kills, one after the other
	calls int           // calls before the first kill and after each restart; half as many while a node is down
	check time.Duration // timeout for the check of one part of the history
}

// runConsistency runs clients on a deployment whose nodes are killed, and checks the history.
func runConsistency(t *testing.T, nodes int, s loadSize) {
	m := startKillableNodes(t, nodes)
	w := newWorld(t, m)
	w.secret(killedPassword)
	x := &clientLoad{w: w, nodes: nodes, began: time.Now(), calls: make(chan struct{}), talks: make(chan struct{}),
		// Keep-alive connections would let the HTTP client retry a call, whose first attempt may have taken effect.
		http: &http.Client{Timeout: waitTimeout, Transport: &http.Transport{DisableKeepAlives: true}}}
	var work sync.WaitGroup
	seed := uint64(0)
	random := func() *rand.Rand { seed++; return rand.New(rand.NewPCG(uint64(nodes), seed)) }
	for range s.pairs {
		c := x.newPair(t)
		for range 2 {
			r := random()
			work.Go(func() { x.change(c, r) })
		}
		for who := range 2 {
			for node := range nodes {
				r := random()
				work.Go(func() { x.talk(c, who, node, r) })
			}
		}
	}
	var accounts []string
	for range 5 + s.calls/20 {
		accounts = append(accounts, fresh("contested"))
	}
	for range 2 {
		r := random()
		work.Go(func() { x.register(r, accounts) })
	}
	x.permit(s.calls)
	for i := range s.kills {
		m.node(i % nodes).kill(t)
		x.permit(s.calls / 2)
		m.restart(t, i%nodes)
		x.permit(s.calls)
	}
	close(x.calls)
	close(x.talks)
	work.Wait()
	x.check(t, s.check)
	w.close(t)
	for line := range strings.Lines(m.log.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			t.Errorf("logged: %s", line)
		}
	}
}

// TestConsistency runs clients that register, log in, befriend and remove each other, and send dialogues, while nodes
// are killed. Their answers must be a valid history: once a call is answered, it is in force on every node.
func TestConsistency(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string]int{"one node": 1, "two nodes": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runConsistency(t, nodes, loadSize{pairs: 3, calls: 120, kills: 1, check: 20 * time.Second})
		})
	}
}
