//go:build unix

package cmd

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsutil"
)

// pairs are friends on different servers, of which one talks to the other all the time.
type pairs struct {
	pairs int
	stop  chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex  // guards the fields below
	answers map[int]int // by code
	streak  map[int]int // delivered dialogues in a row, by pair
	slowest time.Duration
	failed  []time.Time
}

// startPairs starts n pairs.
func startPairs(t *testing.T, w *world, n int) *pairs {
	t.Helper()
	p := &pairs{pairs: n, stop: make(chan struct{}), answers: make(map[int]int), streak: make(map[int]int)}
	for i := range n {
		a, b := w.newFriends(t)
		p.wg.Go(func() { p.talk(t, i, a, b) })
		go func() {
			for {
				if _, err := b.tunnel.tryNext(); err != nil {
					return // the end of the test
				}
			}
		}()
	}
	return p
}

func (p *pairs) talk(t *testing.T, n int, a, b *member) {
	for i := 0; ; i++ {
		select {
		case <-p.stop:
			return
		default:
		}
		began := time.Now()
		err := a.tunnel.trySend(dialogue(strconv.Quote(fmt.Sprint(i)), b.id, `"hello"`))
		var answer string
		if err == nil {
			answer, err = a.tunnel.tryNext()
		}
		if err != nil {
			t.Errorf("dialogue: %v", err)
			return
		}
		code := reply{body: answer}.code()
		p.mu.Lock()
		p.answers[code]++
		p.slowest = max(p.slowest, time.Since(began))
		p.streak[n]++
		if code != 200 {
			p.streak[n] = 0
			p.failed = append(p.failed, time.Now())
		}
		p.mu.Unlock()
		time.Sleep(time.Millisecond) // paces the load; nothing waits for it
	}
}

// report returns the answers since the last report, and for how long after began there were failures.
func (p *pairs) report(began time.Time) (answers map[int]int, failing, slowest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.failed {
		failing = max(failing, at.Sub(began))
	}
	answers, slowest = p.answers, p.slowest
	p.answers, p.failed, p.slowest = make(map[int]int), nil, 0
	return answers, failing, slowest
}

// calm waits until every pair has had several dialogues in a row delivered.
func (p *pairs) calm(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	clear(p.streak)
	p.mu.Unlock()
	eventually(t, "dialogues of all pairs", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for n := range p.pairs {
			if p.streak[n] < 100 {
				return false
			}
		}
		return true
	})
}

func (p *pairs) end() {
	close(p.stop)
	p.wg.Wait()
}

// movedFrom waits until a server's connections are on a NATS server other than the named one.
func movedFrom(t *testing.T, s *server, from string) {
	t.Helper()
	eventually(t, "the move from "+from, func() bool { return s.app.backend.link.Server() != from })
}

// TestNATSNodesEnd: two servers are attached to three NATS servers, which are killed, or announce their end. All
// connections of a server follow to one living NATS server.
func TestNATSNodesEnd(t *testing.T) {
	t.Parallel()
	cluster := startNATSProcesses(t)
	attached := func(c *Config) { c.NATS.URL, c.NATS.Replicas = cluster.url, 3 }
	all := bridges{start(t, attached), start(t, attached)}
	for _, s := range all {
		s.mayLog = []string{""} // a lost server and what it interrupts are errors
	}
	w := newWorld(t, all)
	client := w.newMembers(t, 1)[0]
	load := startPairs(t, w, 20)
	defer load.end()
	for _, step := range []struct {
		what string
		end  func(*natsProcess)
	}{
		{"lame duck", func(p *natsProcess) { p.signal(t, syscall.SIGUSR2) }},
		{"SIGTERM", func(p *natsProcess) { p.signal(t, syscall.SIGTERM) }},
		{"SIGKILL", func(p *natsProcess) { p.signal(t, syscall.SIGKILL) }},
	} {
		load.report(time.Now())
		from := all[0].app.backend.link.Server()
		began := time.Now()
		step.end(cluster.nodes[from])
		for _, s := range all {
			movedFrom(t, s, from)
		}
		moved := time.Since(began)
		load.calm(t)
		answers, failing, slowest := load.report(began)
		t.Logf("%s: moved after %s, failures for %s, slowest %s, answers %v", step.what, moved, failing, slowest, answers)
		// NATS asks for logins from each of its servers, wherever the answering connections are.
		for name, p := range cluster.nodes {
			if name == from {
				continue
			}
			nc, err := bridgetest.Dial("nats://"+p.client, client.account, client.password, "")
			if err != nil {
				t.Errorf("%s: login of a NATS client to %s: %v", step.what, name, err)
				continue
			}
			nc.Close()
		}
		cluster.nodes[from].kill()
		cluster.nodes[from].start(t)
		cluster.nodes[from].ready(t)
	}
	// The servers write to the audit trail when they end. The NATS server that was killed last may have led it.
	js, err := natsutil.JetStream(all[0].app.backend.nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leader of the audit trail", func() bool {
		s, err := js.Stream(t.Context(), "IM_AUDIT")
		return err == nil && s.CachedInfo().Cluster.Leader != ""
	})
	if out := all[0].output(t); !regexp.MustCompile(`(?m)^imctl_nats_moves_total [3-9]`).MatchString(out) {
		t.Errorf("%q in the metrics, want a move for each end", firstGroup(out, `(?m)^(imctl_nats_moves_total.*)`))
	}
	nodes, err := all[0].app.bridge.Services().Cluster.Nodes(t.Context())
	if err != nil || len(nodes) != len(all) {
		t.Fatalf("nodes: %v, %v", nodes, err)
	}
	for _, n := range nodes {
		if cluster.nodes[n.NATS] == nil {
			t.Errorf("status: node %s is on NATS server %q", n.ID, n.NATS)
		}
	}
}
