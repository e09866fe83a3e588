package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Broadcast returns when every node, this one included, has carried out the command. A node that answers nothing is
// struck off the list first: see lease.go.
func (c *Cluster) Broadcast(ctx context.Context, command Command) error {
	_, err := c.broadcast(ctx, command)
	return err
}

// broadcast is Broadcast with the answers of the nodes, which it also returns with an error.
func (c *Cluster) broadcast(ctx context.Context, command Command) ([]report, error) {
	limit := CommandTimeout
	c.checkClustered()
	if c.clustered.Load() {
		limit = broadcastTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c.mu.Lock()
	started := c.started
	c.mu.Unlock()
	listed, err := c.list.Registrations(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if !c.clustered.Load() && c.started == started { // otherwise suspicions find the nodes that have left
		clear(c.peers)
	}
	c.addPeers(listed)
	c.mu.Unlock()
	body, err := encode(command)
	if err != nil {
		return nil, err
	}
	var ids []string
	for id := range listed {
		if id != c.id() {
			ids = append(ids, id)
		}
	}
	reports, others, err := c.each(command, ids, func(id string) (report, bool, error) {
		if c.clustered.Load() {
			return c.deliver(ctx, id, body)
		}
		return c.requestOrStrike(ctx, id, listed[id], body)
	})
	c.mu.Lock()
	if c.started == started { // otherwise a node has started that may not have been on the list yet
		c.alone.Store(others == 0)
	}
	c.mu.Unlock()
	return reports, err
}

// ask is broadcast for a command that needs no certainty. In a cluster of NATS servers it needs no leader, and skips a
// node that does not listen, or did not answer lately. The error names nodes that do not answer in time.
func (c *Cluster) ask(ctx context.Context, command Command) ([]report, error) {
	ids, ok := c.cachedPeers()
	if !ok {
		return c.broadcast(ctx, command)
	}
	ctx, cancel := context.WithTimeout(ctx, CommandTimeout)
	defer cancel()
	body, err := encode(command)
	if err != nil {
		return nil, err
	}
	reports, _, err := c.each(command, ids, func(id string) (r report, there bool, err error) {
		if c.suspectOf(id) != nil {
			return r, false, nil
		}
		attempt, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		r, err = c.request(attempt, id, body)
		if errors.Is(err, nats.ErrNoResponders) {
			c.suspect(id)
			return r, false, nil
		}
		return r, true, err
	})
	return reports, err
}

// Tell has the nodes carry out a command that needs no certainty: it skips nodes that do not answer. The error names
// those that listen and do not answer in time.
func (c *Cluster) Tell(ctx context.Context, command Command) error {
	_, err := c.ask(ctx, command)
	return err
}

// cachedPeers returns the other nodes of the cached list. ok is false if NATS is no cluster, or the list is old.
func (c *Cluster) cachedPeers() (ids []string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.clustered.Load() || c.self == nil || time.Since(c.listed) > listFor {
		return nil, false
	}
	for id := range c.peers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, true
}

// each sends a command to nodes and, if this process is a node, carries it out here, too. others is the number of other
// nodes that are there.
func (c *Cluster) each(command Command, ids []string, send func(id string) (r report, there bool, err error)) (reports []report, others int, err error) {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex // guards the results
		failed []error
	)
	for _, id := range ids {
		wg.Go(func() {
			r, there, err := send(id)
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			if there {
				others++
				reports = append(reports, r)
			}
		})
	}
	if c.self != nil {
		r := dispatch(c.handler, command)
		mu.Lock()
		reports = append(reports, r)
		mu.Unlock()
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		return reports, others, fmt.Errorf("command %s: %w", command.op(), err)
	}
	return reports, others, nil
}

// deliver sends a command to a node in a cluster of NATS servers, until the node answers, or is struck off the list.
func (c *Cluster) deliver(ctx context.Context, id string, body []byte) (r report, there bool, err error) {
	for limit := answerTimeout; ; limit *= 2 {
		s := c.suspectOf(id)
		if s == nil {
			attempt, cancel := context.WithTimeout(ctx, limit)
			r, err = c.request(attempt, id, body)
			cancel()
			if err == nil {
				return r, true, nil
			}
			if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded) {
				return r, true, err
			}
			s = c.suspect(id)
		}
		select {
		case <-s.done:
			if s.gone {
				return r, false, nil
			}
		case <-ctx.Done():
			return r, true, fmt.Errorf("node %s does not answer: %w", id, ctx.Err())
		}
		if c.closed.Err() != nil || ctx.Err() != nil {
			return r, true, fmt.Errorf("node %s does not answer: %w", id, context.Canceled)
		}
	}
}

// requestOrStrike sends a command to a node on a single NATS server. If the node does not listen, requestOrStrike
// retries once, since the node may just be connecting again, and then strikes the node off the list.
func (c *Cluster) requestOrStrike(ctx context.Context, id string, registrations []string, body []byte) (r report, there bool, err error) {
	if r, err = c.request(ctx, id, body); !errors.Is(err, nats.ErrNoResponders) {
		return r, true, err
	}
	select {
	case <-ctx.Done():
		return r, true, ctx.Err()
	case <-time.After(InterestDelay):
	}
	if r, err = c.request(ctx, id, body); !errors.Is(err, nats.ErrNoResponders) {
		return r, true, err
	}
	struck, err := c.list.Strike(ctx, id, registrations)
	if err != nil {
		return r, false, err
	}
	if struck {
		c.mu.Lock()
		delete(c.peers, id)
		c.look()
		c.mu.Unlock()
		c.log.Info("a node is lost", "node", id)
		c.tellLost(id)
		return r, false, nil
	}
	r, err = c.request(ctx, id, body) // it has registered again
	return r, true, err
}

// Ended strikes a node off the list that is known to have ended, without waiting for it. If it was listed, the others
// are told, since it may not have told them its last change.
func (c *Cluster) Ended(ctx context.Context, id string) error {
	all, err := c.list.Registrations(ctx)
	if err != nil || len(all[id]) == 0 {
		return err
	}
	if _, err := c.list.Strike(ctx, id, all[id]); err != nil {
		return err
	}
	c.tellLost(id)
	return nil
}

// request sends a command to one node.
func (c *Cluster) request(ctx context.Context, id string, body []byte) (r report, err error) {
	m, err := c.nc.RequestWithContext(ctx, c.names.Node(id), body)
	if err == nil {
		err = json.Unmarshal(m.Data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("node %s: %w", id, err)
	}
	return r, nil
}

// tellLost has Heartbeat tell the nodes that one was struck off the list.
func (c *Cluster) tellLost(id string) {
	select {
	case c.lost <- id:
	default: // only a process that sends no heartbeats leaves them
	}
}
