package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/eventlog"
	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// ErrFailed: no dead letter has this id.
var ErrFailed = errors.New("dead letter not found")

// Cluster tells the nodes of changes. cluster.Cluster is one.
type Cluster interface {
	// ConsumerAttached has each node take notice of the consumers of the event log, and of the webhooks.
	ConsumerAttached(ctx context.Context) error
}

// Webhooks are what administrators act on.
type Webhooks struct {
	store     *kv.Store
	consumers *eventlog.Consumers
	cluster   Cluster
	queue     *queue
	settings  Settings
	sender    *sender
	log       *slog.Logger
}

// NewWebhooks returns the webhooks in the store.
func NewWebhooks(nc *nats.Conn, prefix subject.Prefix, store *kv.Store, c Cluster, settings Settings, log *slog.Logger) (*Webhooks, error) {
	settings = settings.withDefaults()
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return nil, err
	}
	return &Webhooks{store: store, consumers: eventlog.NewConsumers(js, prefix), cluster: c, settings: settings, log: log,
		queue:  &queue{js: js, names: prefix, limits: settings.Limits, log: log},
		sender: newSender(settings.Private, settings.Limits.Timeout, settings.RootCAs)}, nil
}

// Bounds and defaults of a webhook.
const (
	DefaultParallel = 4
	MaxParallel     = 64
	MinRate         = 0.1
	MaxRate         = 10_000
	// RotationTime is how long both secrets sign after a rotation, by default, and MaxRotationTime at most.
	RotationTime    = 24 * time.Hour
	MaxRotationTime = 30 * 24 * time.Hour
)

// Add adds a webhook for events from now on, and returns it with its secret, which cannot be read again.
//
// Errors: kv.ErrWebhookExists, kv.ErrWebhookInvalid, kv.ErrReadOnly.
func (ws *Webhooks) Add(ctx context.Context, w kv.Webhook) (kv.Webhook, string, error) {
	if w.Parallel == 0 {
		w.Parallel = DefaultParallel
	}
	filters, err := eventlog.EventFilters(w.Events)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", kv.ErrWebhookInvalid, err)
	case w.Parallel < 1 || w.Parallel > MaxParallel:
		err = fmt.Errorf("%w: parallel is %d, allowed are 1 to %d", kv.ErrWebhookInvalid, w.Parallel, MaxParallel)
	case w.Rate != 0 && !(w.Rate >= MinRate && w.Rate <= MaxRate):
		err = fmt.Errorf("%w: rate is %g, allowed are 0 for no limit, and %g to %d a second", kv.ErrWebhookInvalid, w.Rate, MinRate, int(MaxRate))
	default:
		err = checkURL(w.URL, ws.settings.Private)
	}
	if err != nil {
		return kv.Webhook{}, "", err
	}
	w, secret, err := ws.store.Webhooks.Prepare(ctx, w)
	if err != nil {
		return kv.Webhook{}, "", err
	}
	err = ws.connect(ctx, w.Name, filters)
	if err == nil {
		err = ws.store.Webhooks.Confirm(ctx, w.Name)
	}
	if err == nil {
		err = ws.cluster.ConsumerAttached(ctx)
	}
	if err != nil {
		return kv.Webhook{}, "", errors.Join(err, ws.remove(context.WithoutCancel(ctx), w.Name))
	}
	return w, secret, nil
}

// connect creates the stream and the consumers of a webhook, and notes in the state that the stream, and the consumer
// on the log, must exist.
func (ws *Webhooks) connect(ctx context.Context, name string, filters []string) error {
	state, err := ws.store.States.Get(ctx)
	if err != nil {
		return err
	}
	if err := ws.expectStream(ctx, state, func() {}); err != nil {
		return err
	}
	if _, err := ws.queue.open(ctx, name); err != nil {
		return err
	}
	if err := ws.consumers.Create(ctx, subject.WebhookConsumer(name), filters...); err != nil {
		return err
	}
	_, err = ws.store.States.Expect(ctx, ws.mark(name))
	return err
}

// expectStream creates the stream of webhooks, and notes in the state that it must exist. If it is missing without a
// note, expectStream calls missing. It keeps the note of a stream that was deleted and created again since, so that the
// next start reports the loss.
func (ws *Webhooks) expectStream(ctx context.Context, state kv.State, missing func()) error {
	name := ws.queue.names.WebhookStream()
	if _, noted := state.Streams[name]; noted {
		return ws.queue.recreate(ctx)
	}
	if err := ws.queue.ensure(ctx, missing); err != nil {
		return err
	}
	_, err := ws.store.States.Expect(ctx, name)
	return err
}

func (ws *Webhooks) mark(name string) string {
	return ws.consumers.Mark(subject.WebhookConsumer(name))
}

// disconnect removes the consumer of a webhook on the log.
func (ws *Webhooks) disconnect(ctx context.Context, name string) error {
	if err := ws.store.States.Forget(ctx, ws.mark(name)); err != nil {
		return err
	}
	return ws.consumers.Remove(ctx, subject.WebhookConsumer(name))
}

// Status is a webhook with its queue.
type Status struct {
	kv.Webhook
	Waiting uint64 `json:"waiting"` // events in the queue
	Failed  uint64 `json:"failed"`  // dead letters
}

// State returns what is wrong with the webhook, or "ok".
func (s Status) State() string {
	switch {
	case !s.Enabled():
		return "disabled: " + s.Disabled.Reason
	case !s.Failing.Since.IsZero():
		return "failing: " + s.Failing.Reason
	}
	return "ok"
}

// List returns all webhooks by name. Errors: only those of NATS and ctx.
func (ws *Webhooks) List(ctx context.Context) ([]Status, error) {
	all, err := ws.store.Webhooks.List(ctx)
	statuses := make([]Status, 0, len(all))
	for i := 0; i < len(all) && err == nil; i++ {
		var s Status
		s, err = ws.status(ctx, all[i])
		statuses = append(statuses, s)
	}
	return statuses, err
}

// Get returns a webhook. Errors: kv.ErrWebhookNotFound.
func (ws *Webhooks) Get(ctx context.Context, name string) (Status, error) {
	w, err := ws.store.Webhooks.Get(ctx, name)
	if err != nil {
		return Status{}, err
	}
	return ws.status(ctx, w)
}

func (ws *Webhooks) status(ctx context.Context, w kv.Webhook) (s Status, err error) {
	s.Webhook = w
	s.Waiting, s.Failed, err = ws.queue.counts(ctx, w.Name)
	return s, err
}

// Remove removes a webhook with its events and dead letters. Errors: kv.ErrWebhookNotFound, kv.ErrReadOnly.
func (ws *Webhooks) Remove(ctx context.Context, name string) error {
	if err := ws.store.Webhooks.Revoke(ctx, name); err != nil {
		return err
	}
	if err := ws.remove(ctx, name); err != nil {
		return err
	}
	return ws.cluster.ConsumerAttached(ctx)
}

func (ws *Webhooks) remove(ctx context.Context, name string) error {
	if err := ws.disconnect(ctx, name); err != nil {
		return err
	}
	if err := ws.queue.remove(ctx, name); err != nil {
		return err
	}
	return ws.store.Webhooks.Remove(ctx, name)
}

// Rotate gives a webhook a new secret, and returns it. Requests have signatures of both secrets for a time.
//
// Errors: kv.ErrWebhookNotFound, kv.ErrReadOnly.
func (ws *Webhooks) Rotate(ctx context.Context, name string, both time.Duration) (kv.Webhook, string, error) {
	if _, err := ws.store.Webhooks.Get(ctx, name); err != nil {
		return kv.Webhook{}, "", err
	}
	return ws.store.Webhooks.Rotate(ctx, name, time.Now().Add(both))
}

// Enable lets a disabled webhook take events from now on. Errors: kv.ErrWebhookNotFound, kv.ErrReadOnly.
func (ws *Webhooks) Enable(ctx context.Context, name string) (kv.Webhook, error) {
	w, err := ws.store.Webhooks.Get(ctx, name)
	if err != nil || w.Enabled() {
		return w, err
	}
	filters, err := eventlog.EventFilters(w.Events)
	if err != nil {
		return w, err
	}
	if err := ws.consumers.Remove(ctx, subject.WebhookConsumer(name)); err != nil { // a node may have ended before it removed the old one
		return w, err
	}
	if err := ws.connect(ctx, name, filters); err != nil {
		return w, err
	}
	if w, err = ws.store.Webhooks.Enable(ctx, name); err != nil {
		return w, err
	}
	return w, ws.cluster.ConsumerAttached(ctx)
}

// Disable stops a webhook. It takes no events, and those in its queue wait until it is enabled, or expire.
//
// Errors: kv.ErrWebhookNotFound, kv.ErrReadOnly.
func (ws *Webhooks) Disable(ctx context.Context, name, reason string) (kv.Webhook, error) {
	if _, err := ws.store.Webhooks.Get(ctx, name); err != nil {
		return kv.Webhook{}, err
	}
	w, err := ws.store.Webhooks.Disable(ctx, name, reason)
	if err != nil {
		return w, err
	}
	if err := ws.disconnect(ctx, name); err != nil {
		return w, err
	}
	return w, ws.cluster.ConsumerAttached(ctx)
}

// TestResult is the outcome of a test event.
type TestResult struct {
	OK       bool    `json:"ok"`
	Status   int     `json:"status,omitempty"` // of the answer; 0 for none
	Problem  string  `json:"problem,omitempty"`
	Duration float64 `json:"duration"` // in seconds
}

// Test posts an event of the type webhook.test, once. Errors: kv.ErrWebhookNotFound.
func (ws *Webhooks) Test(ctx context.Context, name string) (TestResult, error) {
	w, err := ws.store.Webhooks.Get(ctx, name)
	if err != nil {
		return TestResult{}, err
	}
	secrets, err := ws.store.Webhooks.Secrets(ctx, name)
	if err != nil {
		return TestResult{}, err
	}
	body := `{"type":"webhook.test","timestamp":` + string(text(time.Now().UTC().Format(time.RFC3339Nano))) + `,"data":{"webhook":` + string(text(name)) + `}}`
	o := ws.sender.post(ctx, w.URL, event{id: "msg_test_" + strings.ToLower(kv.NewID()[:16]), body: []byte(body)}, secrets)
	ws.sender.client.CloseIdleConnections()
	result := TestResult{OK: o.ok(), Status: o.status, Duration: o.took.Seconds()}
	if !result.OK {
		result.Problem = o.reason()
	}
	return result, nil
}

// Dead returns up to limit dead letters of a webhook, oldest first, after the one with the id after, and the id for the
// next part. The first part has the id 0. The id of the last part is 0.
//
// Errors: kv.ErrWebhookNotFound.
func (ws *Webhooks) Dead(ctx context.Context, name string, after uint64, limit int) ([]Failed, uint64, error) {
	if _, err := ws.store.Webhooks.Get(ctx, name); err != nil {
		return nil, 0, err
	}
	all := []Failed{}
	for {
		f, _, err := ws.queue.failed(ctx, name, after+1, false)
		if errors.Is(err, ErrFailed) {
			return all, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if len(all) == limit {
			return all, after, nil
		}
		after, f.Event = f.ID, nil
		all = append(all, f)
	}
}

// DeadLetter returns a dead letter with its event. Errors: kv.ErrWebhookNotFound, ErrFailed.
func (ws *Webhooks) DeadLetter(ctx context.Context, name string, id uint64) (Failed, error) {
	if _, err := ws.store.Webhooks.Get(ctx, name); err != nil {
		return Failed{}, err
	}
	f, _, err := ws.queue.failed(ctx, name, id, true)
	return f, err
}

// Replay queues dead letters of a webhook again, and returns how many. No ids mean all.
//
// Errors: kv.ErrWebhookNotFound, ErrFailed.
func (ws *Webhooks) Replay(ctx context.Context, name string, ids ...uint64) (int, error) {
	return ws.eachDead(ctx, name, ids, ws.queue.replay)
}

// Drop removes dead letters of a webhook, and returns how many. No ids mean all.
//
// Errors: kv.ErrWebhookNotFound, ErrFailed.
func (ws *Webhooks) Drop(ctx context.Context, name string, ids ...uint64) (int, error) {
	return ws.eachDead(ctx, name, ids, ws.queue.drop)
}

func (ws *Webhooks) eachDead(ctx context.Context, name string, ids []uint64, do func(context.Context, string, uint64) error) (int, error) {
	if _, err := ws.store.Webhooks.Get(ctx, name); err != nil {
		return 0, err
	}
	if len(ids) == 0 {
		all, _, err := ws.Dead(ctx, name, 0, int(ws.queue.limits.MaxFailed)+1)
		if err != nil {
			return 0, err
		}
		for _, f := range all {
			ids = append(ids, f.ID)
		}
	}
	for i, id := range ids {
		if err := do(ctx, name, id); err != nil {
			return i, fmt.Errorf("%w: %d", err, id)
		}
	}
	return len(ids), nil
}

// Repair completes the additions and removals that a process left unfinished when it ended, and creates the consumers
// that a restored backup lacks. It returns how many webhooks it has removed.
func (ws *Webhooks) Repair(ctx context.Context) (int, error) {
	pending, err := ws.store.Webhooks.Pending(ctx)
	if err != nil {
		return 0, err
	}
	for _, w := range pending {
		if err := ws.remove(ctx, w.Name); err != nil {
			return 0, err
		}
	}
	return len(pending), ws.Expect(ctx)
}

// Expect notes in the state that the stream of webhooks must exist if there is a webhook, and for every enabled one
// that its consumer on the log must exist. A stream or consumer that is missing without such a note is created again:
// its loss was accepted, or a restored backup does not have it.
func (ws *Webhooks) Expect(ctx context.Context) error {
	all, err := ws.store.Webhooks.List(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	state, err := ws.store.States.Get(ctx)
	if err != nil {
		return err
	}
	err = ws.expectStream(ctx, state, func() {
		ws.log.Warn("the stream of webhooks is missing: creating it, empty", "stream", ws.queue.names.WebhookStream())
	})
	if err != nil {
		return err
	}
	for _, w := range all {
		if !w.Enabled() {
			if err := ws.disconnect(ctx, w.Name); err != nil {
				return err
			}
			continue
		}
		if _, noted := state.Streams[ws.mark(w.Name)]; noted {
			continue
		}
		_, err := ws.store.States.Expect(ctx, ws.mark(w.Name))
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			ws.log.Warn("the consumer of a webhook is missing: creating it, for events from now on", "webhook", w.Name)
			var filters []string
			if filters, err = eventlog.EventFilters(w.Events); err == nil {
				err = ws.connect(ctx, w.Name, filters)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
