package cmd

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"imctl/bridge/cluster"
)

// overPath is a deployment as clients see it behind a path.
type overPath struct {
	*server
	url string
}

func (o overPath) base(int) string { return o.url }

// TestKeptOverDeadPath lets two people chat on three devices, of which those of the second person are behind a path that
// goes dead without a reset: for a moment, until the server has ended the sessions, and until the devices have. Every
// dialogue that was answered 202 is on every device in the end, once and in order.
func TestKeptOverDeadPath(t *testing.T) {
	t.Parallel()
	p := newNetPath(t)
	s := start(t, func(c *Config) {
		c.Sessions.WriteTimeout = 2 * time.Second
		c.Sessions.PerUser = 64 // those that the server still takes for alive count
	})
	logOnFailure(t, s.log)
	w := newWorld(t, s)
	x := &keepRun{w: w, rand: rand.New(rand.NewPCG(1, 1)), stop: make(chan struct{}), failed: make(chan struct{}, 3)}
	x.people = w.newKeepPersons(t)
	transport := &http.Transport{DialContext: p.dial}
	t.Cleanup(transport.CloseIdleConnections)
	far := &world{deployment: overPath{s, p.listen(t, s)}, netDial: p.dial, secrets: make(map[string]bool), http: &http.Client{Transport: transport, Timeout: 2 * time.Second}}
	x.people[1].w = far
	for i, person := range []*keepPerson{x.people[0], x.people[1], x.people[1]} {
		d := person.newDevice(t, fmt.Sprintf("device%d", i), 0, uint64(i), x.stop)
		d.silence = 3 * time.Second
		d.onKept = func() {
			x.kept.add()
			time.Sleep(2 * time.Millisecond) // people type more slowly than programs send
		}
		x.devices = append(x.devices, d)
		x.working.Go(func() {
			if !d.run() {
				x.failed <- struct{}{}
			}
		})
	}
	sessions := func() (n int) {
		open, err := w.services().Cluster.Sessions(t.Context(), cluster.ListSessions{User: x.people[1].id})
		if err != nil {
			t.Fatal(err)
		}
		return len(open)
	}
	for i := range pathCuts {
		x.await(t, 200)
		p.cut(t)
		x.await(t, 200) // the person on this side goes on
		if i%3 != 0 {
			eventually(t, "the server has ended the sessions behind the dead path", func() bool { return sessions() == 0 })
		}
		if i%3 == 2 {
			time.Sleep(2 * x.devices[1].silence) // the devices have given up too, without telling the server
		}
		x.await(t, 50)
		p.heal(t)
		eventually(t, "both devices are back", func() bool { return sessions() >= 2 })
	}
	x.await(t, 200)
	x.end(t)
}
