package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
	"imctl/kv"
)

// attempt posts one event, and decides what becomes of it. Errors: those of NATS.
func (r *run) attempt(ctx context.Context, events *feed, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	secrets, err := r.signing(ctx)
	if err != nil {
		return err
	}
	e := event{id: m.Headers().Get(idHeader), body: m.Data()}
	o := r.s.sender.post(ctx, r.hook.URL, e, secrets)
	if ctx.Err() != nil && !o.ok() {
		return nil // the event is delivered again
	}
	r.s.metrics.posts.WithLabelValues(r.hook.Name, o.result()).Inc()
	r.s.metrics.seconds.WithLabelValues(r.hook.Name).Observe(o.took.Seconds())
	switch {
	case o.ok():
		r.succeeded()
		return events.settle(m, m.Ack)
	case o.gone():
		r.s.gone(r.hook.Name)
		r.cancel() // until the record tells that the webhook is disabled
		return events.settle(m, func() error { return m.NakWithDelay(againAfter) })
	}
	pause := r.failed(o)
	delay, again := r.s.pace.retry(meta.NumDelivered, time.Since(meta.Timestamp), o.wait)
	switch {
	case !again:
		return r.give(ctx, events, m, meta, o.reason())
	case r.outage():
		delay = pause // the event is among those that find out whether the destination works
	}
	return events.settle(m, func() error { return m.NakWithDelay(delay) })
}

// give makes a queued event a dead letter.
func (r *run) give(ctx context.Context, events *feed, m jetstream.Msg, meta *jetstream.MsgMetadata, reason string) error {
	if err := r.bury(ctx, &nats.Msg{Header: m.Headers(), Data: m.Data()}, reason, meta.NumDelivered, meta.Timestamp); err != nil {
		return err
	}
	return events.settle(m, m.Ack)
}

// signing returns the secrets with which the webhook signs.
func (r *run) signing(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.secretsAt) < secretsFor {
		return r.secrets, nil
	}
	secrets, err := r.s.opts.Store.Webhooks.Secrets(ctx, r.hook.Name)
	if err == nil {
		r.secrets, r.secretsAt = secrets, time.Now()
	}
	return secrets, err
}

// pauseLeft returns how long nothing is posted.
func (r *run) pauseLeft() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.until)
}

// outage reports whether the webhook counts as failing.
func (r *run) outage() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures >= r.s.pace.outageAfter
}

// failed notes a failed attempt, and returns how long nothing is posted.
func (r *run) failed(o outcome) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures++
	pause := r.s.pace.pause(r.failures, o.wait)
	r.until = time.Now().Add(pause)
	if r.failures >= r.s.pace.outageAfter && !r.failing {
		r.failing = true
		r.s.metrics.paused.WithLabelValues(r.hook.Name).Set(1)
		r.s.opts.Log.Warn("the destination of a webhook fails", "webhook", r.hook.Name, "reason", o.reason())
		r.s.noteFailing(r.hook.Name, o.reason())
	}
	return pause
}

// succeeded notes a successful attempt.
func (r *run) succeeded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures, r.until = 0, time.Time{}
	if r.failing || r.noted {
		r.failing, r.noted = false, false
		r.s.metrics.paused.WithLabelValues(r.hook.Name).Set(0)
		r.s.opts.Log.Info("the destination of a webhook works again", "webhook", r.hook.Name)
		r.s.noteFailing(r.hook.Name, "")
	}
}

// reread takes over what the record of the webhook says. Another node may have changed it.
func (r *run) reread(w kv.Webhook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noted = !w.Failing.Since.IsZero()
}

// checkMoved finds out whether another node posts instead of this one, which then does not tell any more that the
// destination fails. While a webhook pauses, no request for events tells.
func (r *run) checkMoved(ctx context.Context) error {
	r.mu.Lock()
	failing, own := r.failing, r.pin
	r.mu.Unlock()
	if !failing {
		return nil
	}
	c, err := r.s.js.Consumer(ctx, r.s.names.WebhookStream(), subject.WebhookConsumer(r.hook.Name))
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // it was deleted, and the next request for events creates it again
	}
	if err != nil {
		return err
	}
	if pin := pinnedTo(c.CachedInfo()); pin == "" || pin == own {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pin == own {
		r.failing = false
		r.s.metrics.paused.WithLabelValues(r.hook.Name).Set(0)
	}
	return nil
}
