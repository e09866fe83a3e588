package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

const (
	// countEvery is the default of Options.WatchEvery.
	countEvery = 10 * time.Second
	// countAgain is the delay of a second count after an announced change: JetStream announces that a consumer is
	// removed while it still counts it.
	countAgain = time.Second
	// countWait bounds one count, and flushWait the subscriptions before the first one.
	countWait = 2 * time.Second
	flushWait = 5 * time.Second
	// holdAttached is how long the log stays attached after a consumer was announced, whatever the counts are that begin
	// in that time, or began before. It leaves a cluster time to tell the stream's leader. Writing without a consumer
	// stores nothing.
	holdAttached = 4 * time.Second
)

// subscribe listens to JetStream's announcements about the stream's consumers, and counts them.
func (l *Log) subscribe(ctx context.Context, nc *nats.Conn) error {
	for action, handle := range map[string]nats.MsgHandler{
		"CREATED": func(*nats.Msg) { l.announce(); l.requestCount() },
		"DELETED": func(*nats.Msg) { l.requestCount() },
	} {
		sub, err := nc.Subscribe(subject.ConsumerAdvisory(action, l.stream), handle)
		if err != nil {
			return fmt.Errorf("subscribe to consumer advisories: %w", err)
		}
		l.subs = append(l.subs, sub)
	}
	flush, cancel := context.WithTimeout(ctx, flushWait)
	defer cancel()
	if err := nc.FlushWithContext(flush); err != nil {
		return fmt.Errorf("subscribe to consumer advisories: %w", err)
	}
	if err := l.CountConsumers(ctx); err != nil {
		return fmt.Errorf("count the consumers of %s: %w", l.stream, err)
	}
	return nil
}

func (l *Log) unsubscribe() error {
	var failed []error
	for _, s := range l.subs {
		if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			failed = append(failed, err)
		}
	}
	l.subs = nil
	return errors.Join(failed...)
}

// Attach assumes that the stream has a consumer, then counts. Every dialogue that is sent after Attach returns, and
// answered with 200, is in the log.
func (l *Log) Attach(ctx context.Context) error {
	l.announce()
	defer l.requestCount() // counts again at the latest when the announcement expires
	return l.CountConsumers(ctx)
}

func (l *Log) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heldUntil = time.Now().Add(holdAttached)
	l.attached.Store(true)
	l.wanted.Store(allKinds)
	l.offline.Store(true)
}

func (l *Log) requestCount() {
	select {
	case l.recount <- struct{}{}:
	default:
	}
}

// watch counts the consumers and reads how far they are behind, at intervals and on request, until ctx ends.
func (l *Log) watch(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	failing, unread := false, false
	for {
		longest := l.opts.WatchEvery
		select {
		case <-ctx.Done():
			return
		case <-l.recount:
			longest = countAgain
		case <-next.C:
		}
		wait, err := l.count(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			l.opts.Log.Warn("count the consumers of the event log", "err", err)
		}
		failing = err != nil
		if err == nil {
			err = l.readUsage(ctx)
			if err != nil && !unread && ctx.Err() == nil {
				l.opts.Log.Warn("read the usage of the event log", "err", err)
			}
			unread = err != nil
		}
		next.Reset(min(wait, longest))
	}
}

// CountConsumers counts the stream's consumers. After an error the last count stays. It creates a stream that was
// deleted.
func (l *Log) CountConsumers(ctx context.Context) error {
	_, err := l.count(ctx)
	return err
}

// count is CountConsumers. It returns the delay before the next count.
func (l *Log) count(ctx context.Context) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	if l.paused.Load() {
		return countAgain, nil
	}
	began := time.Now()
	s, err := l.js.Stream(ctx, l.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		l.opts.Log.Error("the stream of the event log is missing: creating it", "stream", l.stream)
		if err = ensureStream(ctx, l.js, streamConfig(l.opts), l.opts.Log); err == nil {
			s, err = l.js.Stream(ctx, l.stream)
		}
	}
	if err != nil {
		return countEvery, err
	}
	n := s.CachedInfo().State.Consumers
	l.consumers.Store(int64(n))
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.heldUntil.Sub(began) // a count that began before the announcement does not know the consumer
	before := l.attached.Load()
	switch {
	case n > 0:
		l.attached.Store(true)
	case held <= 0:
		l.attached.Store(false)
	default:
		return min(max(time.Until(l.heldUntil), 0), countEvery), nil
	}
	if now := n > 0; now != before {
		l.opts.Log.Info("event log", "consumers", n)
	}
	return countEvery, nil
}
