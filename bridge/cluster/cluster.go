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
	// CommandTimeout bounds the work of a node for a command.
	CommandTimeout = 5 * time.Second
	// broadcastTimeout bounds a broadcast in a cluster of NATS servers: how long a change waits for the nodes that have to
	// know of it. Meanwhile a silent node is struck off the list, after the election of a leader if need be.
	broadcastTimeout = 15 * time.Second
	// InterestDelay is how long interest in a subject may take to reach the other servers of a NATS cluster, with a
	// margin.
	InterestDelay = 50 * time.Millisecond
)

// Cluster brings commands into force on all nodes. It reads the list of nodes from the bucket for each command: a node
// is on the list before its first user logs in, and reads a user's roster after that. So a node is on the list that a
// command uses, or it has read the change that the command tells.
type Cluster struct {
	nc       *nats.Conn
	list     *kv.Nodes
	names    subject.Prefix
	log      *slog.Logger
	self     *kv.Node // nil: this process is not a node, it only sends commands
	handler  Handler
	sub      *nats.Subscription
	work     sync.WaitGroup // commands that run on goroutines of their own, and suspicions
	queue    queue          // commands that are carried out one after the other
	lost     chan string    // ids of nodes that were struck off the list: the others must be told
	lease    *Lease
	onStruck func()            // called when this node finds that it was struck off the list
	onLost   func(node string) // called when this node has struck another one off; nil: nothing is
	closed   context.Context
	close    context.CancelFunc

	clustered atomic.Bool // NATS is a cluster of servers
	view      atomic.Pointer[view]
	alone     atomic.Bool // the last command found no other node, and none has started since
	renewing  sync.Mutex  // held by Renew

	mu           sync.Mutex // guards the fields below, and writing alone
	started      int        // counts nodes that have started, as they told
	registration string
	peers        kv.Registrations // the other nodes, as they were listed last or have told; call look after a change
	told         map[string]int   // the protocol that nodes have told
	listed       time.Time        // when the list was read last
	suspects     map[string]*suspect
	knownBy      map[string]bool // nodes that have this node on their list
}

// New returns a cluster that sends commands over nc.
func New(nc *nats.Conn, list *kv.Nodes, prefix subject.Prefix, log *slog.Logger) *Cluster {
	c := &Cluster{nc: nc, list: list, names: prefix, log: log, lost: make(chan string, 64), lease: NewLease(), onStruck: func() {},
		peers: make(kv.Registrations), told: make(map[string]int), suspects: make(map[string]*suspect), knownBy: make(map[string]bool)}
	c.closed, c.close = context.WithCancel(context.Background())
	c.queue.wake = make(chan struct{}, 1)
	c.look()
	c.checkClustered()
	return c
}

// Hold has the cluster renew a lease, and call struck when this node was struck off the list. Call it before Join.
func (c *Cluster) Hold(l *Lease, struck func()) { c.lease, c.onStruck = l, struck }

// OnLost has a function called with the id of each node that this one has struck off the list. It must not wait. Only one
// node calls it for a loss. OnLost must be called before Heartbeat.
func (c *Cluster) OnLost(lost func(node string)) { c.onLost = lost }

// checkClustered notes whether NATS is a cluster. While this process is not connected, that is not known.
func (c *Cluster) checkClustered() {
	if name := c.nc.ConnectedClusterName(); name != "" || c.nc.IsConnected() {
		c.clustered.Store(name != "")
	}
}

// Alone reports whether no other node serves users. It may be late by the time that a command takes.
func (c *Cluster) Alone() bool { return c.alone.Load() }

// Join puts this process on the list as the node self. From then on h carries out the commands of all nodes.
func (c *Cluster) Join(ctx context.Context, self kv.Node, h Handler) (err error) {
	ctx, cancel := context.WithTimeout(ctx, broadcastTimeout)
	defer cancel()
	c.checkClustered()
	self.Protocol = Protocol
	c.self, c.handler = &self, h
	c.work.Go(c.carryOut)
	c.sub, err = c.nc.Subscribe(c.names.Node(self.ID), c.receive)
	if err == nil {
		err = c.nc.FlushWithContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("subscribe to commands: %w", err)
	}
	return c.Register(ctx)
}

// Register puts this node on the list, whether it was struck off or not, and tells the others.
func (c *Cluster) Register(ctx context.Context) error {
	c.mu.Lock()
	c.registration, c.knownBy = "", make(map[string]bool)
	c.mu.Unlock()
	if _, err := c.Renew(ctx); err != nil {
		return err
	}
	return c.Greet(ctx, false)
}

// Renew registers this node again, which renews its lease. kept reports whether it was on the list until then, and so
// has missed no command. If not, Renew calls the function that Hold was given before the lease runs again.
func (c *Cluster) Renew(ctx context.Context) (kept bool, err error) {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	c.mu.Lock()
	earlier, started := c.registration, c.started
	c.mu.Unlock()
	began := time.Now()
	r, err := c.list.Renew(ctx, *c.self, earlier)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	c.registration, c.listed = r.Registration, began
	if c.started == started { // otherwise a node has registered since
		clear(c.peers)
	}
	c.addPeers(r.Nodes)
	if !r.Kept {
		c.knownBy = make(map[string]bool) // the other nodes have dropped this one
	}
	c.mu.Unlock()
	if !r.Kept && earlier != "" {
		c.log.Warn("this node was struck off the list of nodes, and catches up")
		c.onStruck()
	}
	if c.clustered.Load() {
		c.lease.extend(began)
	} else {
		c.lease.lift()
	}
	return r.Kept, nil
}

// Greet tells the other nodes that this node is there. back tells that it lost its connection to NATS meanwhile.
func (c *Cluster) Greet(ctx context.Context, back bool) error {
	command := NodeStarted{Back: back, From: c.id(), Protocol: Protocol}
	if !c.clustered.Load() {
		return c.Broadcast(ctx, command)
	}
	_, err := c.ask(ctx, command)
	if err != nil {
		c.log.Warn("tell the other nodes of this one", "err", err) // they read it on the list
	}
	return nil
}

// Leave stops receiving commands and, if listed, removes this node from the list. It does nothing before Join.
func (c *Cluster) Leave(ctx context.Context, listed bool) error {
	if c.sub == nil {
		return nil
	}
	err := c.sub.Unsubscribe()
	c.close()
	c.work.Wait()
	if listed {
		err = errors.Join(c.list.Remove(ctx, c.self.ID), err)
	}
	return err
}

// receive takes the commands of other nodes. It answers pings at once, so that a node that carries out a long command
// does not look dead.
func (c *Cluster) receive(m *nats.Msg) {
	defer recovery.Log(c.log, "command")
	command, err := decode(m.Data)
	if err != nil {
		c.log.Warn("malformed command", "err", err)
		return
	}
	switch command := command.(type) {
	case ping:
		c.meet(command.From, command.Protocol)
		c.reply(m, command, report{Doubt: command.From != "" && c.suspectOf(command.From) != nil})
		return
	case NodeStarted:
		c.mu.Lock()
		c.started++
		c.alone.Store(false)
		c.mu.Unlock()
		c.meet(command.From, command.Protocol)
	case nodeLost:
		c.mu.Lock()
		delete(c.peers, command.Node)
		c.look()
		c.mu.Unlock()
	case checkState:
		// The handler may send commands to the other nodes, which do the same. Don't block their commands.
		c.work.Go(func() { c.answer(m, command) })
		return
	}
	c.queue.add(func() { c.answer(m, command) })
}

// meet puts a node on the cached list, which this node sends its heartbeats to. protocol is what the node speaks.
func (c *Cluster) meet(id string, protocol int) {
	if id == "" || id == c.id() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.peers[id]; !ok {
		c.peers[id] = nil
		c.started++
		c.alone.Store(false)
	}
	if c.told[id] != protocol {
		c.told[id] = protocol
		c.look()
	}
}

// queue has commands that wait to be carried out.
type queue struct {
	mu    sync.Mutex // guards tasks
	tasks []func()
	wake  chan struct{} // has a buffer of one
}

func (q *queue) add(task func()) {
	q.mu.Lock()
	q.tasks = append(q.tasks, task)
	q.mu.Unlock()
	signal(q.wake)
}

func (q *queue) take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.tasks
	q.tasks = nil
	return tasks
}

// carryOut carries out the commands in the queue, in the order in which they arrived.
func (c *Cluster) carryOut() {
	for {
		for _, task := range c.queue.take() {
			task()
		}
		select {
		case <-c.queue.wake:
		case <-c.closed.Done():
			return
		}
	}
}

// answer carries out a command and answers it.
func (c *Cluster) answer(m *nats.Msg, command Command) {
	defer recovery.Log(c.log, "command")
	c.reply(m, command, dispatch(c.handler, command))
}

func (c *Cluster) reply(m *nats.Msg, command Command, r report) {
	body, err := json.Marshal(r)
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil && c.nc.IsConnected() {
		c.log.Error("answer a command", "op", command.op(), "err", err)
	}
}

// NotifyRestore has the nodes with these ids check the state, and returns when all that listen have done so. It ignores
// a node that does not listen: the node has ended, or checks the state when it is back. The error names nodes that
// listen and do not answer in time. They check the state on their own.
func NotifyRestore(ctx context.Context, nc *nats.Conn, prefix string, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*CommandTimeout+strikeAfter)
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
			_, err := c.request(ctx, id, body)
			// A node in a cluster of NATS servers may be on its way to another server, and serve users meanwhile.
			for end := time.Now().Add(strikeAfter); errors.Is(err, nats.ErrNoResponders) && nc.ConnectedClusterName() != "" && time.Now().Before(end); {
				time.Sleep(pingEvery)
				_, err = c.request(ctx, id, body)
			}
			if !errors.Is(err, nats.ErrNoResponders) {
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
