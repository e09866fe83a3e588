package cmd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// keepRun is two people with three devices who chat while servers are killed.
type keepRun struct {
	w       *world
	nodes   *killableNodes
	people  [2]*keepPerson
	devices []*keepDevice
	kept    counter // of the answers 202
	rand    *rand.Rand
	stop    chan struct{}
	failed  chan struct{} // has an element after a device has failed
	working sync.WaitGroup
}

// startKeepRun starts the devices on the nodes. The first person has two devices, on different nodes if there are several.
func startKeepRun(t *testing.T, m *killableNodes) *keepRun {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	logOnFailure(t, m.log)
	x := &keepRun{w: newWorld(t, m), nodes: m, rand: rand.New(rand.NewPCG(seed, 0)), stop: make(chan struct{}), failed: make(chan struct{}, 3)}
	x.people = x.w.newKeepPersons(t)
	for i, p := range []*keepPerson{x.people[0], x.people[0], x.people[1]} {
		d := p.newDevice(t, fmt.Sprintf("device%d", i), (i+1)/2, seed+uint64(i), x.stop)
		d.onKept = x.kept.add
		x.devices = append(x.devices, d)
		x.working.Go(func() {
			if !d.run() {
				x.failed <- struct{}{}
			}
		})
	}
	return x
}

// await waits until up to most more dialogues were answered 202.
func (x *keepRun) await(t *testing.T, most int) {
	t.Helper()
	select {
	case <-x.kept.after(1 + x.rand.IntN(most)):
	case <-x.failed:
		t.FailNow()
	case <-time.After(keepStall):
		t.Fatalf("no dialogues were kept for %s", keepStall)
	}
}

// keepStall is how long the devices of a passing test are never without progress.
const keepStall = waitTimeout

// end lets the devices finish, and checks that the conversation is complete and the same for all.
func (x *keepRun) end(t *testing.T) {
	t.Helper()
	close(x.stop)
	x.working.Wait()
	if t.Failed() {
		return
	}
	logins := 0
	for _, d := range x.devices {
		logins += d.logins
		if err := d.settle(); err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
	}
	var last uint64
	for i, p := range x.people {
		fresh := p.newDevice(t, fmt.Sprint("fresh", i), i, uint64(i), nil)
		if err := fresh.settle(); err != nil {
			t.Fatalf("%s: %v", fresh.name, err)
		}
		last = fresh.upTo
		for id, e := range p.kept {
			if got := fresh.log[e.N]; got != e {
				t.Errorf("dialogue %s was answered 202 with %+v, and the history has %+v", id, e, got)
			}
		}
	}
	if kept := len(x.people[0].kept) + len(x.people[1].kept); uint64(kept) != last {
		t.Errorf("%d dialogues were answered 202, and the conversation has %d", kept, last)
	}
	for _, d := range x.devices {
		if d.upTo != last {
			t.Errorf("%s has %d dialogues, want %d", d.name, d.upTo, last)
		}
		eventually(t, "the cursors at the end", func() bool { return d.cursorsAt(t, last) })
	}
	x.repeat(t, last)
	t.Logf("%d dialogues, %d logins", last, logins)
}

// settle logs in until the device has everything, and acknowledges it as read.
func (d *keepDevice) settle() error {
	for {
		err := d.login()
		if errors.Is(err, errAway) {
			continue
		}
		if err == nil && d.upTo > 0 {
			d.p.acknowledges(d.upTo, d.upTo)
			err = d.tunnel.trySend(fmt.Sprintf(`{"read":%d,"with":"%s"}`, d.upTo, d.p.friend.id))
		}
		if err == nil { // the pong is behind the acknowledgement
			err = d.ping()
		}
		if err == nil {
			d.tunnel.close(d.t)
		}
		return err
	}
}

// ping waits for the answer to a ping.
func (d *keepDevice) ping() error {
	if err := d.tunnel.trySend(`{"ping":"x"}`); err != nil {
		return err
	}
	for {
		text, err := d.tunnel.tryNext()
		if err != nil || strings.Contains(text, `"pong":"x"`) {
			return err
		}
	}
}

// cursorsAt reports whether both people have got and read everything, as a login shows it.
func (d *keepDevice) cursorsAt(t *testing.T, last uint64) bool {
	t.Helper()
	c, talks := d.p.openKeep(t, d.node)
	defer c.close(t)
	return len(talks) == 1 && talks[0].Got == last && talks[0].Read == last && talks[0].PeerGot == last && talks[0].PeerRead == last
}

// openKeep opens a session with keep=1 on a node, and returns the conversations in the answer.
func (p *keepPerson) openKeep(t testing.TB, node int) (*tunnel, []keepTalk) {
	t.Helper()
	c := p.w.dial(t, node, "/im/login?"+query("account", p.account, "password", p.password, "keep", "1"))
	f := c.nextKeep(t)
	if f.Code != 200 {
		t.Fatalf("login of %s: %+v", p.account, f)
	}
	p.w.secret(f.Token)
	p.id, p.token = f.Profile.ID, f.Token
	return c, f.Talks
}

// repeat sends some dialogues again, with the same ids. They keep their numbers, and no dialogue is added.
func (x *keepRun) repeat(t *testing.T, last uint64) {
	t.Helper()
	for i, p := range x.people {
		c, _ := p.openKeep(t, i)
		n := 0
		for id, e := range p.kept {
			if last-e.N > 500 {
				continue
			}
			if n++; n > 20 {
				break
			}
			c.send(t, dialogue(strconv.Quote(id), p.friend.id, `"again"`))
			if f := c.nextKept(t, id); f.Code != 202 || f.N != e.N || f.At != e.At {
				t.Errorf("dialogue %s sent again: %+v, want number %d and time %s", id, f, e.N, e.At)
			}
		}
		c.close(t)
		if _, talks := p.openKeep(t, i); len(talks) != 1 || talks[0].Last != last {
			t.Errorf("after dialogues that were sent again: %+v, want last %d", talks, last)
		}
	}
}

// keepNodes returns a deployment of n processes on a NATS server in this process, or of one with its own.
func keepNodes(t *testing.T, n int) (*killableNodes, *externalNATS) {
	t.Helper()
	if n == 1 {
		return startKillableNodes(t, 1), nil
	}
	there := startExternalNATS(t)
	m := &killableNodes{log: new(logBuffer), env: []string{"IMCTL_NATS_URL=" + there.url}}
	for range n {
		data := filepath.Join(t.TempDir(), "data")
		m.data, m.nodes = append(m.data, data), append(m.nodes, startProcess(t, data, m.log, m.env...))
	}
	return m, there
}

// TestKeptSurvivesKill kills the server at random moments while two people chat on three devices. No dialogue that was
// answered 202 is lost, stored twice or renumbered.
func TestKeptSurvivesKill(t *testing.T) {
	t.Parallel()
	m, _ := keepNodes(t, 1)
	x := startKeepRun(t, m)
	for range keepKills {
		x.await(t, 100)
		m.node(0).kill(t)
		m.restart(t, 0)
	}
	x.await(t, 100)
	x.end(t)
	x.close(t)
}

// TestKeptSurvivesNodeKill is TestKeptSurvivesKill with two servers, of which one at a time is killed, and with restarts
// of NATS.
func TestKeptSurvivesNodeKill(t *testing.T) {
	t.Parallel()
	m, there := keepNodes(t, 2)
	x := startKeepRun(t, m)
	for i := range keepKills {
		x.await(t, 100)
		if i%3 == 2 {
			there.stop()
			there.start(t)
			continue
		}
		node := x.rand.IntN(2)
		m.node(node).kill(t)
		x.await(t, 50) // the other node goes on
		m.restart(t, node)
	}
	x.await(t, 100)
	x.end(t)
	x.close(t)
}

// close checks the logs.
func (x *keepRun) close(t *testing.T) {
	t.Helper()
	x.w.close(t)
	for line := range strings.Lines(x.nodes.log.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			t.Errorf("logged: %s", line)
		}
	}
}
