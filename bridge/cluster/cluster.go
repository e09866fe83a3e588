// Package cluster connects the nodes that share the same buckets: the list of nodes, commands from one node to all, and
// the detection of crashed nodes.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/kv"
)

const (
	// CommandTimeout bounds a command: how long a change waits for the nodes that have to know of it.
	CommandTimeout = 5 * time.Second
	// InterestDelay is how long interest in a subject may take to reach the other servers of a NATS cluster, with a
	// margin.
	InterestDelay = 50 * time.Millisecond
)

// Cluster brings commands into force on all nodes. It reads the list of nodes from the bucket for each command: a node
// is on the list before its first user logs in, and reads a user's roster after that. So a node is on the list that a
// command uses, or it has read the change that the command tells.
type Cluster struct {
	nc      *nats.Conn
	list    *kv.Nodes
	names   subject.Prefix
	log     *slog.Logger
	self    *kv.Node // nil: this process is not a node, it only sends commands
	handler Handler
	sub     *nats.Subscription
	work    sync.WaitGroup // commands that run on goroutines of their own
	lost    chan struct{}  // signals that a node was removed from the list and the others must be told

	alone   atomic.Bool // the last command found no other node, and none has started since
	mu      sync.Mutex  // guards starts, and writing alone
	started int         // counts NodeStarted commands
}

// New returns a cluster that sends commands over nc.
func New(nc *nats.Conn, list *kv.Nodes, prefix subject.Prefix, log *slog.Logger) *Cluster {
	return &Cluster{nc: nc, list: list, names: prefix, log: log, lost: make(chan struct{}, 1)}
}

// Alone reports whether no other node serves users. It may be late by the time that a command takes.
func (c *Cluster) Alone() bool { return c.alone.Load() }

// Join puts this process on the list as the node self. From then on h carries out the commands of all nodes.
func (c *Cluster) Join(ctx context.Context, self kv.Node, h Handler) (err error) {
	ctx, cancel := context.WithTimeout(ctx, CommandTimeout)
	defer cancel()
	c.self, c.handler = &self, h
	c.sub, err = c.nc.Subscribe(c.names.Node(self.ID), c.receive)
	if err == nil {
		err = c.nc.FlushWithContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("subscribe to commands: %w", err)
	}
	return c.Register(ctx, false)
}

// Register puts this node on the list and tells the others. back tells that it lost its connection to NATS meanwhile.
func (c *Cluster) Register(ctx context.Context, back bool) error {
	if err := c.list.Register(ctx, *c.self); err != nil {
		return err
	}
	return c.Broadcast(ctx, NodeStarted{Back: back})
}

// Leave stops receiving commands and, if listed, removes this node from the list. It does nothing before Join.
func (c *Cluster) Leave(ctx context.Context, listed bool) error {
	if c.sub == nil {
		return nil
	}
	err := c.sub.Unsubscribe()
	c.work.Wait()
	if listed {
		err = errors.Join(c.list.Remove(ctx, c.self.ID), err)
	}
	return err
}

func (c *Cluster) receive(m *nats.Msg) {
	defer recovery.Log(c.log, "command")
	command, err := decode(m.Data)
	if err != nil {
		c.log.Warn("malformed command", "err", err)
		return
	}
	switch command.(type) {
	case NodeStarted:
		c.mu.Lock()
		c.started++
		c.alone.Store(false)
		c.mu.Unlock()
	case checkState:
		// The handler may send commands to the other nodes, which do the same. Don't block their commands.
		c.work.Go(func() { c.answer(m, command) })
		return
	}
	c.answer(m, command)
}

// answer carries out a command and answers it.
func (c *Cluster) answer(m *nats.Msg, command Command) {
	defer recovery.Log(c.log, "command")
	body, err := json.Marshal(dispatch(c.handler, command))
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		c.log.Error("answer a command", "op", command.op(), "err", err)
	}
}

// Broadcast returns when every node, this one included, has carried out the command.
func (c *Cluster) Broadcast(ctx context.Context, command Command) error {
	_, err := c.broadcast(ctx, command)
	return err
}

// broadcast is Broadcast with the answers of the nodes, which it also returns with an error. It removes a node from the
// list that does not listen, since that node has crashed.
func (c *Cluster) broadcast(ctx context.Context, command Command) ([]report, error) {
	ctx, cancel := context.WithTimeout(ctx, CommandTimeout)
	defer cancel()
	c.mu.Lock()
	started := c.started
	c.mu.Unlock()
	list, err := c.list.IDs(ctx)
	if err != nil {
		return nil, err
	}
	body, err := encode(command)
	if err != nil {
		return nil, err
	}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex // guards the variables below
		reports []report
		failed  []error
		others  int
	)
	for _, id := range list {
		if c.self != nil && id == c.self.ID {
			continue
		}
		wg.Go(func() {
			r, alive, err := c.requestOrStrike(ctx, id, body)
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			if alive {
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
	c.mu.Lock()
	if c.started == started { // otherwise a node has started that may not have been on the list yet
		c.alone.Store(others == 0)
	}
	c.mu.Unlock()
	if err := errors.Join(failed...); err != nil {
		return reports, fmt.Errorf("command %s: %w", command.op(), err)
	}
	return reports, nil
}

// requestOrStrike sends a command to a node. If the node does not listen, requestOrStrike retries once, since the node
// may have started a moment ago on another server of the cluster, and then strikes the node off the list.
func (c *Cluster) requestOrStrike(ctx context.Context, id string, body []byte) (r report, alive bool, err error) {
	if r, err = c.request(ctx, id, body); !errors.Is(err, nats.ErrNoResponders) {
		return r, true, err
	}
	var last error
	err = c.list.Strike(ctx, id, func() bool {
		select {
		case <-ctx.Done():
		case <-time.After(InterestDelay):
		}
		r, last = c.request(ctx, id, body)
		alive = !errors.Is(last, nats.ErrNoResponders)
		return !alive
	})
	if err == nil && !alive {
		c.log.Info("a node is lost", "node", id)
		signal(c.lost)
	}
	if alive {
		err = errors.Join(err, last)
	}
	return r, alive, err
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

// NotifyRestore has the nodes with these ids check the state, and returns when all that listen have done so. It ignores
// a node that does not listen: the node has ended, or checks the state when it is back. The error names nodes that
// listen and do not answer in time. They check the state on their own.
func NotifyRestore(ctx context.Context, nc *nats.Conn, prefix string, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*CommandTimeout)
	defer cancel()
	body, err := encode(checkState{})
	if err != nil {
		return err
	}
	c := &Cluster{nc: nc, names: subject.Prefix(prefix)}
	failed := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			if _, err := c.request(ctx, id, body); !errors.Is(err, nats.ErrNoResponders) {
				failed[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// signal wakes the goroutine that waits on c, which has a buffer of one, now or when it waits next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
