package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// lookEvery is how often the stream's consumers are counted although nothing was heard of a change.
	lookEvery = 10 * time.Second
	// lookAgain is when they are counted once more after something was heard: JetStream says that a consumer is gone
	// while it still counts it.
	lookAgain = time.Second
	// lookWait bounds one count.
	lookWait = 2 * time.Second
	// holdAttached is how long the log is written after a consumer was announced, whatever the count says. It is longer
	// than a count may take, so that one that began before the consumer was there does not undo it, and leaves a cluster
	// time for the stream's leader to hear of it. To write where nobody consumes stores nothing.
	holdAttached = 4 * time.Second
)

// listen subscribes to what JetStream says about the stream's consumers.
func (l *EventLog) listen(ctx context.Context, nc *nats.Conn) error {
	for what, handle := range map[string]nats.MsgHandler{
		"CREATED": func(*nats.Msg) { l.announce(); l.lookSoon() },
		"DELETED": func(*nats.Msg) { l.lookSoon() },
	} {
		sub, err := nc.Subscribe("$JS.EVENT.ADVISORY.CONSUMER."+what+"."+l.stream+".>", handle)
		if err != nil {
			return fmt.Errorf("hear of consumers: %w", err)
		}
		l.subs = append(l.subs, sub)
	}
	flush, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	if err := nc.FlushWithContext(flush); err != nil {
		return fmt.Errorf("hear of consumers: %w", err)
	}
	if _, err := l.look(ctx); err != nil {
		return fmt.Errorf("count the consumers of %s: %w", l.stream, err)
	}
	return nil
}

// deafen ends what listen began.
func (l *EventLog) deafen() error {
	var failed []error
	for _, s := range l.subs {
		if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			failed = append(failed, err)
		}
	}
	l.subs = nil
	return errors.Join(failed...)
}

// Attach takes it as given that there is a consumer, then has a look. Every dialogue that is sent after it returned,
// and answered 200, is in the log.
func (l *EventLog) Attach(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.announce()
	defer l.lookSoon() // at the latest when the announcement's time is up
	_, err := l.look(ctx)
	return err
}

func (l *EventLog) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = time.Now().Add(holdAttached)
	l.attached.Store(true)
}

func (l *EventLog) lookSoon() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// watch keeps the knowledge of consumers up to date until ctx is done.
func (l *EventLog) watch(ctx context.Context) {
	defer close(l.done)
	next := time.NewTimer(lookEvery)
	defer next.Stop()
	failing, most := false, lookEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			most = lookAgain
		case <-next.C:
			most = lookEvery
		}
		again, err := l.look(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			l.o.Log.Warn("count the consumers of the event log", "err", err)
		}
		failing = err != nil
		next.Reset(min(again, most))
	}
}

// look counts the stream's consumers and returns when to do so again. After an error everything stays as it was known.
// A stream that somebody deleted is made anew.
func (l *EventLog) look(ctx context.Context) (again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	if l.paused.Load() {
		return lookAgain, nil
	}
	s, err := l.js.Stream(ctx, l.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		l.o.Log.Error("the event log's stream is gone: making it anew", "stream", l.stream)
		if err = ensureLogStream(ctx, l.js, logStreamConfig(l.o), l.o.Log); err == nil {
			s, err = l.js.Stream(ctx, l.stream)
		}
	}
	if err != nil {
		return lookEvery, err
	}
	n := s.CachedInfo().State.Consumers
	l.consumers.Store(int64(n))
	l.mu.Lock()
	defer l.mu.Unlock()
	held := time.Until(l.held)
	before := l.attached.Load()
	switch {
	case n > 0:
		l.attached.Store(true)
	case held <= 0:
		l.attached.Store(false)
	default:
		return min(held, lookEvery), nil
	}
	if now := n > 0; now != before {
		l.o.Log.Info("event log", "consumers", n)
	}
	return lookEvery, nil
}
