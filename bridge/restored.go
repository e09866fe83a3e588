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

// A restore replaces the buckets while servers run. The command that restores marks the state, tells the nodes, removes
// the old buckets, names the new ones in the state, and tells the nodes again. At the mark a node ends its sessions and
// answers nothing: what it answered could vanish a moment later. When the new buckets are in use it moves to them. A
// node that was not told looks at the state by itself.

// ErrRestoring: a restore is past the point where the old contents can be kept, and is not complete.
var ErrRestoring = errors.New("a restore is not complete")

const (
	// stateLook is how often a node looks at the state although nobody told it to.
	stateLook = 5 * time.Second
	// haltWait bounds how long sessions may take to end when a restore is about to replace everything.
	haltWait = 3 * time.Second
	// closeServiceRestart is the WebSocket close code of a server that asks its clients to come back.
	closeServiceRestart = websocket.CloseServiceRestart
)

// TellRestore has nodes look at the state, and returns when all that are there have. A node that does not answer looks by
// itself, at the latest when it is back; it is named in the error.
func TellRestore(ctx context.Context, nc *nats.Conn, prefix string, ids []string) error {
	n := &nodes{nc: nc, prefix: prefix}
	return n.tellAll(ctx, command{Op: opState}, ids)
}

// isHalted tells whether a restore is about to replace everything.
func (b *Bridge) isHalted() bool { return b.service != nil && b.service.gate.isShut() }

// lookAtState finds out whether a restore replaces, or has replaced, the buckets, and does what that asks of this node.
func (b *Bridge) lookAtState(ctx context.Context) error {
	select {
	case b.looking <- struct{}{}:
		defer func() { <-b.looking }()
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
		if err := store.Use(ctx, state); err != nil {
			return err
		}
		return b.goOn(ctx)
	case b.isHalted():
		return b.goOn(ctx)
	}
	return nil
}

// halt ends all sessions and lets none begin. It returns when nothing of them is left in memory.
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
	b.log.Warn("a restore replaces everything: all sessions end", "sessions", len(open), "started", mark.Started)
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

// goOn lists the node in the buckets that are in use now, closes what NATS clients have open by credentials from before, and serves.
func (b *Bridge) goOn(ctx context.Context) error {
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
	b.log.Warn("the restore is complete: everything is as in the backup")
	return nil
}

// pause keeps the log from being written, and its stream from being made anew, while a restore replaces it.
func (l *EventLog) pause(paused bool) {
	if l != nil {
		l.paused.Store(paused)
	}
}

// halting is ErrRestoring while a restore is about to replace everything.
func (b *Bridge) halting() error {
	if b.isHalted() {
		return fmt.Errorf("%w: imctl restore --complete completes one that was interrupted", ErrRestoring)
	}
	return nil
}
