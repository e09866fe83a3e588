package cmd

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// size is how much a trial does.
type size struct {
	couples int           // at work at once
	kills   int           // of a node, one after the other
	calls   int           // before the first kill, and after each; half as many while the node is gone
	check   time.Duration // bounds the check of one part of the history
}

// consistent makes clients work on a deployment whose nodes are killed, and checks the history.
func runConsistency(t *testing.T, nodes int, s size) {
	m := startKillableNodes(t, nodes)
	w := newWorld(t, m)
	w.secret(killedPassword)
	x := &clientLoad{w: w, nodes: nodes, began: time.Now(), calls: make(chan struct{}), talks: make(chan struct{}),
		// A client library that retries a call by itself would hide that the first try may have taken effect.
		http: &http.Client{Timeout: waitTimeout, Transport: &http.Transport{DisableKeepAlives: true}}}
	var work sync.WaitGroup
	seed := uint64(0)
	random := func() *rand.Rand { seed++; return rand.New(rand.NewPCG(uint64(nodes), seed)) }
	for range s.couples {
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
	w.leave(t)
	for line := range strings.Lines(m.log.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			t.Errorf("logged: %s", line)
		}
	}
}

// TestConsistency makes many clients register, log in, befriend and remove each other, and talk, while nodes are killed.
// The answers must be a valid history: an answered call is in force on every node.
func TestConsistency(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string]int{"one node": 1, "two nodes": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runConsistency(t, nodes, size{couples: 3, calls: 120, kills: 1, check: 20 * time.Second})
		})
	}
}
