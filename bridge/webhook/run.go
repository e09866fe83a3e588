package webhook

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"imctl/bridge/eventlog"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/kv"
)

const (
	// fetchWait is how long one request for events waits. It is shorter than pinnedFor, so that the node stays the one
	// that posts.
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
	failing   bool       // noted in the record
	secrets   []string
	secretsAt time.Time
}

func (s *Service) begin(ctx context.Context, w kv.Webhook) *run {
	r := &run{s: s, hook: w, seed: maphash.MakeSeed(), failing: !w.Failing.Since.IsZero()}
	if r.failing {
		s.metrics.paused.WithLabelValues(w.Name).Set(1)
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.wg.Go(func() { r.forever(r.ctx, "read the event log", r.pump) })
	r.wg.Go(func() { r.forever(r.ctx, "post events", r.post) })
	return r
}

// stop ends the webhook on this node, and lets another one take over.
func (r *run) stop() {
	r.cancel()
	r.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), unpinWait)
	defer cancel()
	for _, stream := range []string{r.s.names.LogStream(), r.s.names.WebhookStream()} {
		if s, err := r.s.js.Stream(ctx, stream); err == nil { // otherwise NATS finds out that the node is gone
			r.note(s.UnpinConsumer(ctx, subject.WebhookConsumer(r.hook.Name), eventlog.WebhookGroup))
		}
	}
}

// unpinWait bounds the wait for NATS when another node may take over at once.
const unpinWait = 2 * time.Second

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
		if ctx.Err() == nil && err != nil && !logged {
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

// next returns the next event of the queue, or nil if there is none yet.
func next(ctx context.Context, c jetstream.Consumer) (jetstream.Msg, error) {
	within, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err := c.Fetch(1, jetstream.FetchContext(within), jetstream.FetchPriorityGroup(eventlog.WebhookGroup))
	if err != nil {
		return nil, err
	}
	m := <-batch.Messages()
	err = batch.Error()
	if m != nil || err == nil || within.Err() != nil || errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrPinIDMismatch) {
		return m, nil // with a pin mismatch another node posts
	}
	return nil, err
}

// queued is an entry of the log whose event is on its way into the queue.
type queued struct {
	entry   jetstream.Msg
	message *nats.Msg
	ack     jetstream.PubAckFuture
}

// pump moves events from the event log to the queue, in order. After an error the entries that are not acknowledged are
// delivered again.
func (r *run) pump(ctx context.Context) error {
	c, err := r.s.js.Consumer(ctx, r.s.names.LogStream(), subject.WebhookConsumer(r.hook.Name))
	if err != nil {
		return err
	}
	entries, err := c.Messages(jetstream.PullMaxMessages(pumpBatch), jetstream.PullExpiry(fetchWait), jetstream.PullPriorityGroup(eventlog.WebhookGroup))
	if err != nil {
		return err
	}
	defer entries.Stop()
	ctx, cancel := context.WithCancel(ctx)
	window := make(chan queued, pumpBatch)
	settled := make(chan error, 1)
	go func() {
		defer cancel()
		settled <- r.settle(ctx, window)
	}()
	err = r.enqueue(ctx, entries, window)
	close(window)
	return errors.Join(err, <-settled)
}

// enqueue queues the events of log entries until ctx ends.
func (r *run) enqueue(ctx context.Context, entries jetstream.MessagesContext, window chan<- queued) error {
	for {
		m, err := entries.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, jetstream.ErrPinIDMismatch), errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoHeartbeat):
			continue // another node reads, or NATS is away for a moment
		case err != nil:
			return err
		}
		e, err := r.eventOf(ctx, m)
		if errors.Is(err, errEntry) {
			r.lose(lostMalformed, err)
			err = m.Ack()
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		q := queued{entry: m, message: r.s.queue.message(r.hook.Name, e)}
		if q.ack, err = r.s.js.PublishMsgAsync(q.message, jetstream.WithMsgID(r.hook.Name+"."+e.id), jetstream.WithRetryAttempts(0)); err != nil {
			return err
		}
		select {
		case window <- q:
		case <-ctx.Done():
			return nil
		}
	}
}

// settle acknowledges the entries whose events are queued.
func (r *run) settle(ctx context.Context, window <-chan queued) error {
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
			err = q.entry.Ack()
		}
		if err != nil {
			return err
		}
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
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	lanes := make([]chan jetstream.Msg, max(r.hook.Parallel, 1))
	for i := range lanes {
		lane := make(chan jetstream.Msg, 1)
		lanes[i] = lane
		wg.Go(func() { r.lane(ctx, lane) })
	}
	limit := rate.NewLimiter(rate.Inf, 1)
	if r.hook.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(r.hook.Rate), 1)
	}
	for ctx.Err() == nil {
		if left := r.pauseLeft(); left > 0 {
			sleep(ctx, left)
			if err := r.probe(ctx, c); err != nil {
				return err
			}
			continue
		}
		m, err := next(ctx, c)
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

// lane posts events one after the other until ctx ends.
func (r *run) lane(ctx context.Context, in <-chan jetstream.Msg) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-in:
			func() {
				defer recovery.Log(r.s.opts.Log, "webhook "+r.hook.Name)
				if left := r.pauseLeft(); left > 0 {
					r.note(m.NakWithDelay(left))
					return
				}
				if err := r.attempt(ctx, m); err != nil && ctx.Err() == nil {
					r.note(err)
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

// probe waits for an event and posts it, after a pause. If the destination still fails, probe also makes dead letters of the events that
// are too old: a backlog of days does not wait for a destination that is gone.
func (r *run) probe(ctx context.Context, c jetstream.Consumer) error {
	var first jetstream.Msg
	for first == nil && ctx.Err() == nil {
		var err error
		if first, err = next(ctx, c); err != nil {
			return err
		}
	}
	if first == nil {
		return nil // ctx has ended
	}
	if err := r.attempt(ctx, first); err != nil {
		return err
	}
	for r.pauseLeft() > 0 && ctx.Err() == nil {
		m, err := next(ctx, c)
		if err != nil || m == nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if time.Since(meta.Timestamp) < r.s.pace.maxAge {
			return m.NakWithDelay(r.pauseLeft())
		}
		if err := r.give(ctx, m, meta, "the destination failed for too long"); err != nil {
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
