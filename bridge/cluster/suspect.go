package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/kv"
)

const (
	// pingEvery is the interval of pings to a suspect.
	pingEvery = 250 * time.Millisecond
	// answerTimeout is how long a node may take for the answer to a command before it becomes a suspect. It then answers
	// pings, or is struck off.
	answerTimeout = time.Second
	// lookEvery is the interval at which the registrations of a suspect are read.
	lookEvery = time.Second
	// strikeTimeout bounds one try to strike a suspect off the list.
	strikeTimeout = 5 * time.Second
)

// suspect is a node that did not answer a command. All commands to it wait for the end of the suspicion.
type suspect struct {
	done chan struct{} // closed at the end
	gone bool          // it is off the list; read after done
}

// suspectOf returns the suspicion of a node, nil for none.
func (c *Cluster) suspectOf(id string) *suspect {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspects[id]
}

// suspect begins to suspect a node, unless that is under way. The suspicion ends when the node answers or is struck off
// the list, or the cluster is closed.
func (c *Cluster) suspect(id string) *suspect {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.suspects[id]; s != nil {
		return s
	}
	s := &suspect{done: make(chan struct{})}
	c.suspects[id] = s
	known := c.peers[id]
	c.work.Go(func() {
		end := c.watch(id, known)
		c.mu.Lock()
		delete(c.suspects, id)
		if end != alive {
			delete(c.peers, id)
			c.look()
			s.gone = true
		}
		c.mu.Unlock()
		close(s.done)
		if end == struck {
			c.log.Info("a node is lost", "node", id)
			c.tellLost(id)
		}
	})
	return s
}

// outcome is how a suspicion ends.
type outcome int

const (
	alive  outcome = iota // it has answered, or the cluster is closed
	left                  // it is off the list
	struck                // this node has struck it off the list
)

// watch pings a suspect until it answers, leaves the list, or has answered nothing for so long that it may be struck
// off. known are registrations that were listed before.
func (c *Cluster) watch(id string, known []string) outcome {
	answers := make(chan *nats.Msg, 2*strangerAfter/pingEvery) // a server that hung sends all at once
	sub, err := c.nc.ChanSubscribe(c.nc.NewInbox(), answers)
	if err != nil {
		return alive // the connection is closed
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	body, err := encode(ping{From: c.id(), Protocol: Protocol})
	if err != nil {
		return alive
	}
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	began, looked := time.Now(), time.Time{}
	for {
		if err := c.nc.PublishRequest(c.names.Node(id), sub.Subject, body); errors.Is(err, nats.ErrConnectionClosed) {
			return alive
		}
		if time.Since(looked) >= lookEvery {
			looked = time.Now()
			now, err := c.registrationsOf(id)
			if err == nil && len(now) == 0 {
				return left
			}
			if err == nil && !slices.Equal(now, known) { // it may have renewed its lease
				known, began = now, time.Now()
			}
		}
		if c.answered(answers, tick.C) {
			c.heard(id)
			return alive
		}
		if c.closed.Err() != nil {
			return alive
		}
		if len(known) == 0 || time.Since(began) < c.patience(id) || c.self != nil && !c.lease.Runs() {
			continue
		}
		off, err := c.strike(id, known)
		c.warn(c.closed, "strike a node off the list", err)
		if off {
			return struck
		}
		looked = time.Time{} // it has registered again, and does not answer this node
	}
}

// answered waits until the next tick. It returns true at once for an answer of a node.
func (c *Cluster) answered(answers <-chan *nats.Msg, tick <-chan time.Time) bool {
	for {
		select {
		case m := <-answers:
			if m.Header.Get("Status") == "" { // NATS itself answers that no node listens
				return true
			}
		case <-tick:
			return false
		case <-c.closed.Done():
			return false
		}
	}
}

// patience returns for how long a suspect must not answer before it is struck off. A node of a version without leases
// does not stop serving by itself, so to wait for longer would gain nothing.
func (c *Cluster) patience(id string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.knownBy[id] || c.spoken(id, c.peers[id]) < leases {
		return strikeAfter
	}
	return strangerAfter
}

// registrationsOf reads the registrations of a node.
func (c *Cluster) registrationsOf(id string) ([]string, error) {
	ctx, cancel := context.WithTimeout(c.closed, pingEvery)
	defer cancel()
	all, err := c.list.Registrations(ctx)
	return slices.Sorted(slices.Values(all[id])), err
}

// strike strikes registrations of a node off the list, and reports whether the node is off the list then.
func (c *Cluster) strike(id string, registrations []string) (bool, error) {
	ctx, cancel := context.WithTimeout(c.closed, strikeTimeout)
	defer cancel()
	return c.list.Strike(ctx, id, registrations)
}

// heard notes that a node has answered a command of this node, and so has it on its list.
func (c *Cluster) heard(id string) {
	if c.self == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.knownBy[id] = true
}

// addPeers adds the nodes of a list to the cached one. Called with mu held.
func (c *Cluster) addPeers(all kv.Registrations) {
	for id, registrations := range all {
		if id != c.id() {
			c.peers[id] = registrations
		}
	}
	c.look()
}

// id returns the id of this node, "" for a process that is not a node.
func (c *Cluster) id() string {
	if c.self == nil {
		return ""
	}
	return c.self.ID
}
