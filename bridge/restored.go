package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// A restore replaces the buckets while servers run. The restore command marks the state, tells the nodes, removes the old
// buckets, puts the new buckets into use in the state, and tells the nodes again. When a node sees the mark, it ends its
// sessions and answers no calls, since the restore would undo their changes. When the new buckets are in use, the node
// switches to them. A node that was not told finds out by checking the state every stateCheckEvery.

// ErrRestoring: a restore is past the point of no return and not complete.
var ErrRestoring = errors.New("a restore is not complete")

const (
	// stateCheckEvery is how often a node checks the state without being told to.
	stateCheckEvery = 5 * time.Second
	// haltWait bounds how long sessions may take to end when a restore halts the node.
	haltWait = 3 * time.Second
	// closeServiceRestart is the WebSocket close code of a server that asks its clients to come back.
	closeServiceRestart = websocket.CloseServiceRestart
)

// TellRestore makes the nodes with these ids check the state, and returns when all that listen have done so. The error
// names nodes that do not answer. Such a node checks the state by itself, at the latest when it is back.
func TellRestore(ctx context.Context, nc *nats.Conn, prefix string, ids []string) error {
	n := &nodes{nc: nc, prefix: prefix}
	return n.tellAll(ctx, command{Op: opState}, ids)
}

// isHalted reports whether a restore is replacing the data.
func (b *Bridge) isHalted() bool { return b.service != nil && b.service.gate.isShut() }

// checkState reads the state, halts the node if a restore is replacing the buckets, and resumes on the new buckets when
// the restore is complete.
func (b *Bridge) checkState(ctx context.Context) error {
	select {
	case b.checking <- struct{}{}:
		defer func() { <-b.checking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	store := b.o.Store
	state, err := store.States.Get(ctx)
	if err != nil {
		return err
	}
	switch {
	case state.Restore != nil:
		b.halt(ctx, *state.Restore)
	case !store.InUse(state):
		b.halt(ctx, kv.RestoreMark{})
		if err := store.SwitchTo(ctx, state); err != nil {
			return err
		}
		return b.resume(ctx)
	case b.isHalted():
		return b.resume(ctx)
	}
	return nil
}

// halt ends all sessions and refuses new ones. It returns when all sessions have ended.
func (b *Bridge) halt(ctx context.Context, mark kv.RestoreMark) {
	b.mu.Lock()
	first := b.service.gate.shut()
	open := make([]*session, 0, len(b.sessions))
	for s := range b.sessions {
		open = append(open, s)
	}
	b.mu.Unlock()
	if !first {
		return
	}
	b.log.Warn("a restore is replacing the data: ending all sessions", "sessions", len(open), "started", mark.Started)
	b.events.pause(true)
	for _, s := range open {
		s.closeWith(nil, closeServiceRestart, "restored from a backup")
	}
	gone := make(chan struct{})
	go func() { b.wg.Wait(); close(gone) }()
	ctx, cancel := context.WithTimeout(ctx, haltWait)
	defer cancel()
	select {
	case <-gone:
		return
	case <-ctx.Done():
	}
	b.mu.Lock()
	for s := range b.sessions {
		s.conn.Kill()
	}
	b.mu.Unlock()
	<-gone
}

// resume registers the node in the buckets that are in use now, closes the connections of NATS clients that logged in
// before the restore, and serves again.
func (b *Bridge) resume(ctx context.Context) error {
	if err := b.service.nodes.register(ctx, false); err != nil {
		return err
	}
	b.events.pause(false)
	if err := b.events.Attach(ctx); err != nil {
		return err
	}
	if err := b.service.expectConsumers(ctx); err != nil {
		return err
	}
	if b.system != nil {
		k := &kicker{b.system, b.log}
		access := b.service.o.Access
		for _, account := range []string{access.Account, access.ConsumerAccount} {
			if err := k.clients(ctx, account); err != nil {
				return err
			}
		}
	}
	b.service.gate.open()
	b.log.Warn("the restore is complete: serving the data of the backup")
	return nil
}

// pause stops or resumes writing the log and making its stream anew. A restore that replaces the stream needs it paused.
func (l *EventLog) pause(paused bool) {
	if l != nil {
		l.paused.Store(paused)
	}
}

// halting returns an ErrRestoring while the node is halted, and otherwise nil.
func (b *Bridge) halting() error {
	if b.isHalted() {
		return fmt.Errorf("%w: if it was interrupted, complete it with imctl restore --complete", ErrRestoring)
	}
	return nil
}
