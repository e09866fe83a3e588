package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/audit"
	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// Talks tells how far a user has come in its conversations. talk.Service is one.
type Talks interface {
	Cursors(ctx context.Context, user string) (map[string]kv.Cursor, error)
}

// Settings are those of all webhooks.
type Settings struct {
	Limits  Limits
	Private bool           // destinations may have private addresses, and http URLs
	MaxAge  time.Duration  // of an event, until it becomes a dead letter; default 72h
	RootCAs *x509.CertPool // verify the destinations; nil: those of the system
}

func (s Settings) withDefaults() Settings {
	s.Limits = s.Limits.withDefaults()
	if s.MaxAge == 0 {
		s.MaxAge = 72 * time.Hour
	}
	return s
}

// Options configure a Service.
type Options struct {
	Settings
	Webhooks *Webhooks
	Prefix   subject.Prefix
	Store    *kv.Store
	Talks    Talks       // nil: no conversations are kept
	Serving  func() bool // reports whether the node may work; a restore stops it
	Audit    func(audit.Event)
	Registry prometheus.Registerer
	Log      *slog.Logger

	pace *pace // of tests
}

// tendEvery is the interval at which a node reads the webhooks, if it is not told of a change.
const tendEvery = 5 * time.Second

// publishWait is how long a node waits until NATS has queued an event. A server that ends does not answer.
const publishWait = 10 * time.Second

// Service posts the events of all webhooks, on this node.
type Service struct {
	opts      Options
	names     subject.Prefix
	js        jetstream.JetStream
	queue     *queue
	sender    *sender
	pace      pace
	directory *directory
	metrics   *metrics
	runs      map[string]*run // used by tend alone
	reload    chan struct{}
	notes     chan note
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

// note is what a run found out about its destination.
type note struct {
	webhook, reason string
	gone            bool
}

// New starts a service on a connection to NATS. Close ends it.
func New(nc *nats.Conn, opts Options) (*Service, error) {
	opts.Settings = opts.Settings.withDefaults()
	js, err := natsutil.JetStream(nc, jetstream.WithPublishAsyncMaxPending(4*pumpBatch), jetstream.WithPublishAsyncTimeout(publishWait))
	if err != nil {
		return nil, err
	}
	s := &Service{opts: opts, names: opts.Prefix, js: js, queue: &queue{js: js, names: opts.Prefix, limits: opts.Limits, log: opts.Log},
		sender: newSender(opts.Private, opts.Limits.Timeout, opts.RootCAs), pace: newPace(opts.MaxAge), directory: newDirectory(opts.Store, opts.Talks),
		metrics: newMetrics(opts.Registry), runs: make(map[string]*run), reload: make(chan struct{}, 1), notes: make(chan note, 4*kv.MaxWebhooks)}
	if opts.pace != nil {
		s.pace = *opts.pace
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(func() { s.tend(ctx) })
	s.wg.Go(func() { s.write(ctx) })
	return s, nil
}

// Close stops posting. Events that are under way are posted again by the next service.
func (s *Service) Close() {
	s.cancel()
	s.wg.Wait()
	s.sender.client.CloseIdleConnections()
}

// Reload has the service read the webhooks again.
func (s *Service) Reload() {
	select {
	case s.reload <- struct{}{}:
	default:
	}
}

// tend runs the enabled webhooks until ctx ends.
func (s *Service) tend(ctx context.Context) {
	defer func() {
		for _, r := range s.runs {
			r.stop()
		}
	}()
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	failing := false
	for {
		err := s.match(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.opts.Log.Warn("read the webhooks", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.reload:
		}
	}
}

// match begins and stops webhooks on this node, by their records.
func (s *Service) match(ctx context.Context) error {
	var wanted []kv.Webhook
	if s.opts.Serving() {
		all, err := s.opts.Store.Webhooks.List(ctx)
		if err != nil {
			return err
		}
		for _, w := range all {
			if w.Enabled() {
				wanted = append(wanted, w)
			}
			if err := s.measure(ctx, w.Name); err != nil {
				return err
			}
		}
	}
	if len(wanted) > 0 {
		if err := s.queue.recreate(ctx); err != nil {
			return err
		}
	}
	stale := make(map[string]*run, len(s.runs))
	for name, r := range s.runs {
		stale[name] = r
	}
	for _, w := range wanted {
		if r := s.runs[w.Name]; r != nil && r.same(w) && r.ctx.Err() == nil {
			delete(stale, w.Name)
			r.reread(w)
			if err := r.checkMoved(ctx); err != nil {
				return err
			}
		}
	}
	for name, r := range stale {
		r.stop()
		delete(s.runs, name)
		s.metrics.forget(name)
	}
	for _, w := range wanted {
		if s.runs[w.Name] == nil {
			s.runs[w.Name] = s.begin(ctx, w)
		}
	}
	return nil
}

// measure sets the gauges of a webhook.
func (s *Service) measure(ctx context.Context, name string) error {
	waiting, failed, err := s.queue.counts(ctx, name)
	if err == nil {
		s.metrics.waiting.WithLabelValues(name).Set(float64(waiting))
		s.metrics.failed.WithLabelValues(name).Set(float64(failed))
	}
	return err
}

// noteFailing has the record of a webhook tell that its destination fails, or with "" that it works.
func (s *Service) noteFailing(name, reason string) { s.note(note{webhook: name, reason: reason}) }

// gone has a webhook disabled, since its destination wants no more events.
func (s *Service) gone(name string) { s.note(note{webhook: name, gone: true}) }

func (s *Service) note(n note) {
	select {
	case s.notes <- n:
	default: // the next attempt finds out again
	}
}

// write writes the notes into the records until ctx ends.
func (s *Service) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-s.notes:
			if err := s.writeNote(ctx, n); err != nil && ctx.Err() == nil && !errors.Is(err, kv.ErrWebhookNotFound) {
				s.opts.Log.Warn("note the state of a webhook", "webhook", n.webhook, "err", err)
			}
		}
	}
}

func (s *Service) writeNote(ctx context.Context, n note) error {
	if !n.gone {
		return s.opts.Store.Webhooks.SetFailing(ctx, n.webhook, n.reason)
	}
	w, err := s.opts.Store.Webhooks.Get(ctx, n.webhook)
	if err != nil || !w.Enabled() {
		return err
	}
	if _, err := s.opts.Webhooks.Disable(ctx, n.webhook, "the destination answered 410 Gone"); err != nil {
		return err
	}
	s.opts.Log.Warn("a webhook was disabled, since its destination answered 410 Gone", "webhook", n.webhook)
	s.opts.Audit(audit.Event{Event: audit.WebhookDisabled, Actor: audit.Ref{Kind: audit.Server}, Subject: audit.Ref{Kind: audit.Webhook, ID: n.webhook}})
	return nil
}
