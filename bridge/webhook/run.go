package webhook

import (
	"context"
	"errors"
	"hash/maphash"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/kv"
)

const (
	// fetchWait is how long one request for events waits. It is shorter than Limits.pinnedFor, so that the same node goes
	// on posting.
	fetchWait = 10 * time.Second
	// pumpBatch is how many entries of the log are on their way to the queue, at most.
	pumpBatch = 100
	// againAfter is the delay after an error of NATS.
	againAfter = time.Second
	// secretsFor is how long a node uses the secrets that it has read.
	secretsFor = 5 * time.Second
)

// run is one webhook on this node. NATS delivers to one node at a time.
type run struct {
	s      *Service
	hook   kv.Webhook
	ctx    context.Context // ends with the run
	cancel context.CancelFunc
	wg     sync.WaitGroup
	seed   maphash.Seed

	mu        sync.Mutex // guards the fields below
	failures  int        // in a row
	until     time.Time  // nothing is posted before
	failing   bool       // this node posts, and the destination fails
	noted     bool       // the record says that the destination fails, when it was last read
	pin       string     // of this node, when an event last arrived
	secrets   []string
	secretsAt time.Time
}

func (s *Service) begin(ctx context.Context, w kv.Webhook) *run {
	r := &run{s: s, hook: w, seed: maphash.MakeSeed(), noted: !w.Failing.Since.IsZero()}
	s.metrics.paused.WithLabelValues(w.Name).Set(0)
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.wg.Go(func() { r.forever(r.ctx, "read the event log", r.pump) })
	r.wg.Go(func() { r.forever(r.ctx, "post events", r.post) })
	return r
}

// stop ends the webhook on this node, and lets another one take over.
func (r *run) stop() {
	r.cancel()
	r.wg.Wait()
}

// forever repeats a loop that ends with an error, until ctx ends. It logs the first error of a row.
func (r *run) forever(ctx context.Context, what string, loop func(context.Context) error) {
	logged := false
	for ctx.Err() == nil {
		began := time.Now()
		err := func() (err error) {
			defer recovery.Log(r.s.opts.Log, "webhook "+r.hook.Name)
			return loop(ctx)
		}()
		if time.Since(began) > time.Minute {
			logged = false
		}
		if ctx.Err() == nil && err != nil && !errors.Is(err, errMoved) && !logged {
			r.s.opts.Log.Warn("webhook: "+what, "webhook", r.hook.Name, "err", err)
			logged = true
		}
		sleep(ctx, againAfter)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// queued is an entry of the log whose event is on its way into the queue.
type queued struct {
	entry   jetstream.Msg
	message *nats.Msg
	ack     jetstream.PubAckFuture
	settled chan struct{} // closed when the entry is acknowledged
}

// pump moves events from the event log to the queue, in order. After an error the entries that are not acknowledged are
// delivered again.
func (r *run) pump(ctx context.Context) error {
	c, err := r.s.js.Consumer(ctx, r.s.names.LogStream(), subject.WebhookConsumer(r.hook.Name))
	if err != nil {
		return err
	}
	entries := newFeed(r.s.js, c, pumpBatch, r.s.opts.Log)
	defer func() { r.note(entries.close()) }()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { entries.renew(ctx, r.note) })
	window := make(chan queued, pumpBatch)
	settled := make(chan error, 1)
	wg.Go(func() {
		defer cancel()
		settled <- r.settle(ctx, entries, window)
	})
	err = r.enqueue(ctx, entries, window)
	close(window)
	return errors.Join(err, <-settled)
}

// enqueue queues the events of log entries until ctx ends. Several are on their way at once, but of the same key only
// one: while NATS has no leader for the queue it may refuse an event and store a later one.
func (r *run) enqueue(ctx context.Context, entries *feed, window chan<- queued) error {
	last := make(map[string]chan struct{}) // by key: closed when the last event is settled
	for ctx.Err() == nil {
		m, err := entries.next(ctx)
		if m == nil {
			if err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		e, err := r.eventOf(ctx, m)
		if errors.Is(err, errEntry) {
			r.lose(lostMalformed, err)
			err = entries.settle(m, m.Ack)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if before := last[e.key]; before != nil {
			select {
			case <-before:
			case <-ctx.Done():
				return nil
			}
		}
		q := queued{entry: m, message: r.s.queue.message(r.hook.Name, e), settled: make(chan struct{})}
		if q.ack, err = r.s.js.PublishMsgAsync(q.message, jetstream.WithMsgID(r.hook.Name+"."+e.id), jetstream.WithRetryAttempts(0)); err != nil {
			return err
		}
		if len(last) > 2*pumpBatch {
			maps.DeleteFunc(last, func(_ string, settled chan struct{}) bool {
				select {
				case <-settled:
					return true
				default:
					return false
				}
			})
		}
		last[e.key] = q.settled
		select {
		case window <- q:
		case <-ctx.Done():
		}
	}
	return nil
}

// settle acknowledges the entries whose events are queued.
func (r *run) settle(ctx context.Context, entries *feed, window <-chan queued) error {
	for q := range window {
		var err error
		select {
		case <-q.ack.Ok():
		case err = <-q.ack.Err():
		case <-ctx.Done():
			return nil
		}
		if isFull(err) {
			err = r.bury(ctx, q.message, "too many events wait", 0, time.Now())
		}
		if err == nil {
			err = entries.settle(q.entry, q.entry.Ack)
		}
		if err != nil {
			return err
		}
		close(q.settled)
	}
	return nil
}

func (r *run) eventOf(ctx context.Context, m jetstream.Msg) (event, error) {
	meta, err := m.Metadata()
	if err != nil {
		return event{}, err
	}
	return r.s.directory.event(ctx, r.s.names.TrimLog(m.Subject()), meta.Sequence.Stream, meta.Timestamp, m.Data(), r.hook.Payload)
}

// bury makes an event a dead letter. If the stream is full, the event is lost.
func (r *run) bury(ctx context.Context, m *nats.Msg, reason string, attempts uint64, queued time.Time) error {
	err := r.s.queue.fail(ctx, r.hook.Name, m, reason, attempts, queued)
	if isFull(err) {
		r.lose(lostFull, err)
		return nil
	}
	if err == nil {
		r.s.metrics.dead.WithLabelValues(r.hook.Name).Inc()
	}
	return err
}

// lose counts a lost event.
func (r *run) lose(reason string, err error) {
	r.s.metrics.lost.WithLabelValues(r.hook.Name, reason).Inc()
	r.s.opts.Log.Error("a webhook has lost an event", "webhook", r.hook.Name, "err", err)
}

// post posts the events of the queue. Each lane posts events one after the other, and events of the same key are on the
// same lane.
func (r *run) post(ctx context.Context) error {
	if err := r.s.queue.recreate(ctx); err != nil {
		return err
	}
	c, err := r.s.queue.open(ctx, r.hook.Name)
	if err != nil {
		return err
	}
	events := newFeed(r.s.js, c, 1, r.s.opts.Log)
	defer func() { r.note(events.close()) }()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { events.renew(ctx, r.note) })
	lanes := make([]chan jetstream.Msg, max(r.hook.Parallel, 1))
	for i := range lanes {
		lane := make(chan jetstream.Msg, 1)
		lanes[i] = lane
		wg.Go(func() { r.lane(ctx, events, lane) })
	}
	limit := rate.NewLimiter(rate.Inf, 1)
	if r.hook.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(r.hook.Rate), 1)
	}
	for ctx.Err() == nil {
		if left := r.pauseLeft(); left > 0 {
			sleep(ctx, left)
			if err := r.probe(ctx, events); err != nil {
				return err
			}
			continue
		}
		m, err := r.next(ctx, events)
		if err != nil {
			return err
		}
		if m == nil || limit.Wait(ctx) != nil {
			continue
		}
		select {
		case lanes[maphash.String(r.seed, m.Headers().Get(keyHeader))%uint64(len(lanes))] <- m:
		case <-ctx.Done():
		}
	}
	return nil
}

// next returns the next event, or nil if there is none yet.
func (r *run) next(ctx context.Context, events *feed) (jetstream.Msg, error) {
	m, err := events.next(ctx)
	if m != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pin = events.pin
	}
	return m, err
}

// lane posts events one after the other until ctx ends.
func (r *run) lane(ctx context.Context, events *feed, in <-chan jetstream.Msg) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-in:
			func() {
				defer recovery.Log(r.s.opts.Log, "webhook "+r.hook.Name)
				if left := r.pauseLeft(); left > 0 {
					r.note(events.settle(m, func() error { return m.NakWithDelay(left) }))
					return
				}
				if err := r.attempt(ctx, events, m); err != nil && ctx.Err() == nil {
					r.note(errors.Join(err, events.settle(m, func() error { return m.NakWithDelay(againAfter) })))
				}
			}()
		}
	}
}

// note logs an error of NATS after which the event is delivered again.
func (r *run) note(err error) {
	if err != nil {
		r.s.opts.Log.Debug("webhook", "webhook", r.hook.Name, "err", err)
	}
}

// probe waits for an event and posts it, after a pause. If the destination still fails, probe also makes dead letters of
// the events that are too old: a backlog of days does not wait for a destination that is gone.
func (r *run) probe(ctx context.Context, events *feed) error {
	var first jetstream.Msg
	for first == nil && ctx.Err() == nil {
		var err error
		if first, err = r.next(ctx, events); err != nil {
			return err
		}
	}
	if first == nil {
		return nil // ctx has ended
	}
	if err := r.attempt(ctx, events, first); err != nil {
		return err
	}
	for r.pauseLeft() > 0 && ctx.Err() == nil {
		m, err := r.next(ctx, events)
		if err != nil || m == nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if time.Since(meta.Timestamp) < r.s.pace.maxAge {
			return events.settle(m, func() error { return m.NakWithDelay(r.pauseLeft()) })
		}
		if err := r.give(ctx, events, m, meta, "the destination failed for too long"); err != nil {
			return err
		}
	}
	return nil
}

// same reports whether a webhook on this node need not begin again for a changed record.
func (r *run) same(w kv.Webhook) bool {
	return r.hook.URL == w.URL && r.hook.Payload == w.Payload && r.hook.Rate == w.Rate && r.hook.Parallel == w.Parallel &&
		r.hook.Created.Equal(w.Created) && strings.Join(r.hook.Events, ",") == strings.Join(w.Events, ",")
}
