package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// commandWait bounds how long a change waits for the nodes that have to know of it.
const commandWait = 5 * time.Second

// op says what a command has a node do.
type op string

const (
	opRoster   op = "roster"   // Other is Friend of User, or not, as of Revision
	opFriends  op = "friends"  // all these are friends
	opClose    op = "close"    // sessions of User end
	opSessions op = "sessions" // which sessions are there, of User or of everybody
	opClient   op = "client"   // User logs in to NATS
	opHello    op = "hello"    // a node has begun
	opGone     op = "gone"     // a node has crashed
	opPing     op = "ping"     // nothing: who answers is there
	opLog      op = "log"      // a consumer was attached to the event log
	opStatus   op = "status"   // how the node is
	opState    op = "state"    // a restore has marked the state, or put other buckets into use
	opKick     op = "kick"     // connections of NATS clients of that Name are closed, where there is a system account to do it by
)

// command is what one node tells the others. It is in force where it was answered.
type command struct {
	Op   op     `json:"op"`
	User string `json:"user,omitempty"`

	Name string `json:"name,omitempty"`

	Back bool `json:"back,omitempty"` // the node that begins had been there before

	Other    string `json:"other,omitempty"`
	Friend   bool   `json:"friend,omitempty"`
	Revision uint64 `json:"revision,omitempty"`

	Friends []newFriend `json:"friends,omitempty"`

	// Which sessions to close: of these ids, living by this token, not living by that one. Empty fields ask for nothing.
	Sessions  []string `json:"sessions,omitempty"`
	Token     string   `json:"token_hash,omitempty"`
	KeepToken string   `json:"keep_token_hash,omitempty"`

	Frame  []byte `json:"frame,omitempty"` // the last one of a session that ends
	Code   int    `json:"code,omitempty"`  // of the WebSocket's close frame
	Reason string `json:"reason,omitempty"`

	// Which sessions are asked for: so many at most, those behind one, on one node. Empty fields ask for all.
	Limit int           `json:"limit,omitempty"`
	After SessionCursor `json:"after,omitzero"`
	Node  string        `json:"node,omitempty"`

	Joins string `json:"joins,omitempty"` // the node on which the user whose sessions are asked for logs in
}

// closes tells whether a command to close means this session.
func (c *command) closes(s *session) bool {
	token := s.tokenHash()
	return (len(c.Sessions) == 0 || slices.Contains(c.Sessions, s.id)) &&
		(c.Token == "" || c.Token == token) && (c.KeepToken == "" || c.KeepToken != token)
}

// report is a node's answer to a command.
type report struct {
	Sessions []SessionInfo `json:"sessions,omitempty"`
	Status   *NodeStatus   `json:"status,omitempty"`
}

// SessionInfo is what is known of a session.
type SessionInfo struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Node    string    `json:"node"`
	Since   time.Time `json:"since"`
	Address string    `json:"address"`
	Push    bool      `json:"push"`
}

// nodes brings commands into force on all servers that share the buckets. Who they are is read from the list in the
// buckets for each command: a node is on it before its first user logs in, and reads a user's roster after that, so a
// change that was written before the list was read either finds the node on the list or was seen by it.
type nodes struct {
	nc     *nats.Conn
	list   *kv.Nodes
	prefix string
	log    *slog.Logger
	self   *kv.Node // nil: this process serves nobody, it only commands
	run    func(command) report
	sub    *nats.Subscription
	work   sync.WaitGroup // commands that run in goroutines of their own
	lost   chan struct{}  // signals that a node was removed from the list and the others must be told

	alone  atomic.Bool // no other node was there at the last look, and none has begun since
	mu     sync.Mutex  // guards hellos, and writing alone
	hellos int         // nodes that have begun, as they said
}

func newNodes(nc *nats.Conn, list *kv.Nodes, prefix string, log *slog.Logger) *nodes {
	return &nodes{nc: nc, list: list, prefix: prefix, log: log, lost: make(chan struct{}, 1)}
}

func (n *nodes) subject(id string) string { return n.prefix + ".node." + id }

// join puts this process on the list; from then on run is called for every command.
func (n *nodes) join(ctx context.Context, self kv.Node, run func(command) report) (err error) {
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	n.self, n.run = &self, run
	n.sub, err = n.nc.Subscribe(n.subject(self.ID), n.receive)
	if err != nil {
		return fmt.Errorf("take commands: %w", err)
	}
	if err := n.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("take commands: %w", err)
	}
	return n.register(ctx, false)
}

// register puts this process on the list, back after it was away or not, and tells the others.
func (n *nodes) register(ctx context.Context, back bool) error {
	if err := n.list.Register(ctx, *n.self); err != nil {
		return err
	}
	_, err := n.tell(ctx, command{Op: opHello, Back: back})
	return err
}

// leave stops receiving commands and, if listed, removes this process from the list.
func (n *nodes) leave(ctx context.Context, listed bool) error {
	if n.sub == nil {
		return nil
	}
	err := n.sub.Unsubscribe()
	n.work.Wait()
	if listed {
		err = errors.Join(n.list.Remove(ctx, n.self.ID), err)
	}
	return err
}

func (n *nodes) receive(m *nats.Msg) {
	defer recovered(n.log, "command")
	var c command
	if err := json.Unmarshal(m.Data, &c); err != nil {
		n.log.Warn("command not understood", "err", err)
		return
	}
	if c.Op == opHello {
		n.mu.Lock()
		n.hellos++
		n.alone.Store(false)
		n.mu.Unlock()
	}
	if c.Op == opState { // it may send commands to the other nodes, which do the same: don't block their commands
		n.work.Go(func() { n.carryOut(m, c) })
		return
	}
	n.carryOut(m, c)
}

// carryOut runs a command and answers it.
func (n *nodes) carryOut(m *nats.Msg, c command) {
	defer recovered(n.log, "command")
	body, err := json.Marshal(n.run(c))
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		n.log.Error("answer a command", "op", c.Op, "err", err)
	}
}

// tell has every node carry out the command, this one included, and returns their reports once all of them have. A
// node that is on the list and does not listen has crashed; it is taken off. With an error come the reports that there
// were.
func (n *nodes) tell(ctx context.Context, c command) ([]report, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	n.mu.Lock()
	hellos := n.hellos
	n.mu.Unlock()
	list, err := n.list.IDs(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex // guards what follows
		reports []report
		failed  []error
		others  int
	)
	for _, id := range list {
		if n.self != nil && id == n.self.ID {
			continue
		}
		wg.Go(func() {
			r, there, err := n.askOrStrike(ctx, id, body)
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
			if there {
				others++
				reports = append(reports, r)
			}
		})
	}
	if n.self != nil {
		r := n.run(c)
		mu.Lock()
		reports = append(reports, r)
		mu.Unlock()
	}
	wg.Wait()
	n.mu.Lock()
	if n.hellos == hellos { // else somebody has begun who may not have been on the list yet
		n.alone.Store(others == 0)
	}
	n.mu.Unlock()
	if err := errors.Join(failed...); err != nil {
		return reports, fmt.Errorf("command %s: %w", c.Op, err)
	}
	return reports, nil
}

// askOrStrike asks a node. One that does not listen is asked once more, since it may have begun a moment ago on another
// server of the cluster, and is then struck off the list.
func (n *nodes) askOrStrike(ctx context.Context, id string, body []byte) (r report, there bool, err error) {
	if r, err = n.ask(ctx, id, body); !errors.Is(err, nats.ErrNoResponders) {
		return r, true, err
	}
	var last error
	err = n.list.Evict(ctx, id, func() bool {
		select {
		case <-ctx.Done():
		case <-time.After(crossing):
		}
		r, last = n.ask(ctx, id, body)
		gone := errors.Is(last, nats.ErrNoResponders)
		there = !gone
		return gone
	})
	if err == nil && !there {
		n.log.Info("a node is gone", "node", id)
		signal(n.lost)
	}
	if there {
		err = errors.Join(err, last)
	}
	return r, there, err
}

// tellAll sends the command to the nodes with these ids, and returns when all have carried it out. It ignores a node that
// does not listen: the node has ended, or checks the state when it is back.
func (n *nodes) tellAll(ctx context.Context, c command, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*commandWait)
	defer cancel()
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	failed := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			if _, err := n.ask(ctx, id, body); !errors.Is(err, nats.ErrNoResponders) {
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

func (n *nodes) ask(ctx context.Context, id string, body []byte) (r report, err error) {
	m, err := n.nc.RequestWithContext(ctx, n.subject(id), body)
	if err != nil {
		return r, fmt.Errorf("node %s: %w", id, err)
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, fmt.Errorf("node %s: %w", id, err)
	}
	return r, nil
}
