package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/eventlog"
	"imctl/bridge/subject"
	"imctl/kv"
)

// Limits bound the events that wait, and the dead letters.
type Limits struct {
	MaxEvents int64         // of one webhook that wait; further ones become dead letters
	MaxBytes  int64         // of all events and dead letters; further ones are lost
	MaxFailed uint64        // dead letters of one webhook; further ones drop the oldest
	FailedAge time.Duration // of a dead letter until it is dropped
	Timeout   time.Duration // of an attempt
	Replicas  int

	// ackWait is how long an event may be with a node that does not renew it, until NATS delivers it again.
	ackWait time.Duration
	// pinnedFor is how long the node that posts may be silent until another one takes over. It is longer than ackWait, so
	// that the events that a killed node had are due before, and longer than that node may wait for a destination.
	pinnedFor time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.MaxEvents == 0 {
		l.MaxEvents = 100_000
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = 256 << 20
	}
	if l.MaxFailed == 0 {
		l.MaxFailed = 1000
	}
	if l.FailedAge == 0 {
		l.FailedAge = 30 * 24 * time.Hour
	}
	if l.Timeout == 0 {
		l.Timeout = 15 * time.Second
	}
	if l.Replicas == 0 {
		l.Replicas = 1
	}
	if l.ackWait == 0 {
		l.ackWait = 15 * time.Second
	}
	if l.pinnedFor == 0 {
		l.pinnedFor = max(30*time.Second, 2*l.Timeout)
	}
	return l
}

// maxPending bounds the events that wait for another attempt at once.
const maxPending = 10_000

// Headers of the events in the stream.
const (
	idHeader       = "Imctl-Webhook-Id"
	keyHeader      = "Imctl-Key"
	reasonHeader   = "Imctl-Reason"
	attemptsHeader = "Imctl-Attempts"
	queuedHeader   = "Imctl-Queued"
)

// queue is the stream with the events of all webhooks. A node creates it for the first webhook.
type queue struct {
	js     jetstream.JetStream
	names  subject.Prefix
	limits Limits
	log    *slog.Logger
}

func (q *queue) config() jetstream.StreamConfig {
	c := kv.EntryStream(q.names.WebhookStream(), q.names.WebhookAll(), q.limits.Replicas, q.limits.FailedAge, q.limits.MaxBytes)
	c.Retention, c.Discard = jetstream.WorkQueuePolicy, jetstream.DiscardNew
	c.MaxMsgsPerSubject, c.DiscardNewPerSubject = q.limits.MaxEvents, true
	return c
}

var queueRules = kv.StreamRules{
	Misfit: func(have, _ jetstream.StreamConfig) string {
		if have.Retention != jetstream.WorkQueuePolicy {
			return "its retention is not work queue, and NATS cannot change that"
		}
		return ""
	},
	Update: func(u *kv.StreamUpdate, want jetstream.StreamConfig) {
		kv.SetField(u, "max_age", &u.MaxAge, want.MaxAge)
		kv.SetField(u, "max_bytes", &u.MaxBytes, want.MaxBytes)
		kv.SetField(u, "max_msgs_per_subject", &u.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
		kv.SetField(u, "num_replicas", &u.Replicas, want.Replicas)
	},
}

// ensure creates or updates the stream. If the stream is missing, ensure calls missing before.
func (q *queue) ensure(ctx context.Context, missing func()) error {
	_, err := q.js.Stream(ctx, q.names.WebhookStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		missing()
	}
	if _, err := kv.EnsureStream(ctx, q.js, q.config(), queueRules, q.log); err != nil {
		return fmt.Errorf("stream of webhooks %s: %w", q.names.WebhookStream(), err)
	}
	return nil
}

// recreate creates the stream again if it was deleted, which has lost the events and dead letters in it.
func (q *queue) recreate(ctx context.Context) error {
	return q.ensure(ctx, func() {
		q.log.Error("the stream of webhooks is missing: creating it, without the events and dead letters that were in it", "stream", q.names.WebhookStream())
	})
}

// open creates the consumer of a webhook, and updates an existing one. The stream must exist.
func (q *queue) open(ctx context.Context, name string) (jetstream.Consumer, error) {
	c, err := q.js.CreateOrUpdateConsumer(ctx, q.names.WebhookStream(), jetstream.ConsumerConfig{
		Durable: subject.WebhookConsumer(name), FilterSubject: q.names.WebhookQueue(name), AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.limits.ackWait, MaxAckPending: maxPending,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{eventlog.WebhookGroup}, PinnedTTL: q.limits.pinnedFor,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer of the webhook %s: %w", name, err)
	}
	return c, nil
}

// remove removes the events of a webhook, its dead letters and its consumer.
func (q *queue) remove(ctx context.Context, name string) error {
	s, err := q.js.Stream(ctx, q.names.WebhookStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.DeleteConsumer(ctx, subject.WebhookConsumer(name)); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	return errors.Join(s.Purge(ctx, jetstream.WithPurgeSubject(q.names.WebhookQueue(name))), s.Purge(ctx, jetstream.WithPurgeSubject(q.names.WebhookFailed(name))))
}

// message returns an event as it is queued.
func (q *queue) message(name string, e event) *nats.Msg {
	return &nats.Msg{Subject: q.names.WebhookQueue(name), Header: nats.Header{idHeader: {e.id}, keyHeader: {e.key}}, Data: e.body}
}

// codeStoreFailed is JetStream's error for a stream, or a subject, that is full.
const codeStoreFailed jetstream.ErrorCode = 10077

// isFull reports whether the stream has refused a message since it has too many.
func isFull(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeStoreFailed
}

// fail stores an event as a dead letter. If there are too many of the webhook, it drops the oldest.
func (q *queue) fail(ctx context.Context, name string, m *nats.Msg, reason string, attempts uint64, queued time.Time) error {
	s, err := q.js.Stream(ctx, q.names.WebhookStream())
	if err != nil {
		return err
	}
	on := q.names.WebhookFailed(name)
	keep := min(q.limits.MaxFailed, uint64(q.limits.MaxEvents)) - 1
	if err := q.trim(ctx, s, on, keep); err != nil {
		return fmt.Errorf("drop old dead letters: %w", err)
	}
	dead := &nats.Msg{Subject: on, Data: m.Data, Header: nats.Header{idHeader: {m.Header.Get(idHeader)}, keyHeader: {m.Header.Get(keyHeader)},
		reasonHeader: {reason}, attemptsHeader: {strconv.FormatUint(attempts, 10)}, queuedHeader: {queued.UTC().Format(time.RFC3339)}}}
	_, err = q.js.PublishMsg(ctx, dead)
	return err
}

// trim drops the oldest messages of a subject until keep are left.
func (q *queue) trim(ctx context.Context, s jetstream.Stream, on string, keep uint64) error {
	n, err := q.count(ctx, s, on)
	if err != nil || n <= keep {
		return err
	}
	if keep > 0 {
		return s.Purge(ctx, jetstream.WithPurgeSubject(on), jetstream.WithPurgeKeep(keep))
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(on))
}

// count returns the number of messages of a subject.
func (q *queue) count(ctx context.Context, s jetstream.Stream, on string) (uint64, error) {
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(on))
	if err != nil {
		return 0, err
	}
	return info.State.Subjects[on], nil
}

// counts returns how many events of a webhook wait, and how many dead letters it has.
func (q *queue) counts(ctx context.Context, name string) (waiting, failed uint64, err error) {
	s, err := q.js.Stream(ctx, q.names.WebhookStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	if waiting, err = q.count(ctx, s, q.names.WebhookQueue(name)); err != nil {
		return 0, 0, err
	}
	failed, err = q.count(ctx, s, q.names.WebhookFailed(name))
	return waiting, failed, err
}

// Failed is a dead letter: an event that a webhook could not post.
type Failed struct {
	ID        uint64          `json:"id"`
	WebhookID string          `json:"webhook_id"`
	Type      string          `json:"type"`
	Time      time.Time       `json:"time"`   // when it became a dead letter
	Queued    time.Time       `json:"queued"` // when it was queued
	Attempts  uint64          `json:"attempts"`
	Reason    string          `json:"reason"`
	Event     json.RawMessage `json:"event,omitempty"` // the body, without the text of a dialogue; not in a list
}

// failed returns the dead letter of a webhook with an id, or the first one after it. Errors: ErrFailed if there is none.
func (q *queue) failed(ctx context.Context, name string, id uint64, exact bool) (Failed, *jetstream.RawStreamMsg, error) {
	s, err := q.js.Stream(ctx, q.names.WebhookStream())
	var m *jetstream.RawStreamMsg
	if err == nil {
		m, err = s.GetMsg(ctx, id, jetstream.WithGetMsgSubject(q.names.WebhookFailed(name)))
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && exact && m.Sequence != id {
		return Failed{}, nil, ErrFailed
	}
	if err != nil {
		return Failed{}, nil, err
	}
	f := Failed{ID: m.Sequence, WebhookID: m.Header.Get(idHeader), Time: m.Time.UTC(), Reason: m.Header.Get(reasonHeader)}
	var e envelope
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return Failed{}, nil, fmt.Errorf("dead letter %d: %w", m.Sequence, err)
	}
	f.Type = e.Type
	delete(e.Data, "payload")
	if f.Event, err = json.Marshal(e); err != nil {
		return Failed{}, nil, err
	}
	if f.Queued, err = time.Parse(time.RFC3339, m.Header.Get(queuedHeader)); err != nil {
		return Failed{}, nil, fmt.Errorf("dead letter %d: %w", m.Sequence, err)
	}
	f.Attempts, err = strconv.ParseUint(m.Header.Get(attemptsHeader), 10, 64)
	return f, m, err
}

// replay queues a dead letter again.
func (q *queue) replay(ctx context.Context, name string, id uint64) error {
	_, m, err := q.failed(ctx, name, id, true)
	if err != nil {
		return err
	}
	again := q.message(name, event{id: m.Header.Get(idHeader), key: m.Header.Get(keyHeader), body: m.Data})
	if _, err := q.js.PublishMsg(ctx, again, jetstream.WithMsgID(again.Header.Get(idHeader)+".replay."+strconv.FormatUint(id, 10))); err != nil {
		return err
	}
	return q.drop(ctx, name, id)
}

// drop removes a dead letter.
func (q *queue) drop(ctx context.Context, name string, id uint64) error {
	if _, _, err := q.failed(ctx, name, id, true); err != nil {
		return err
	}
	s, err := q.js.Stream(ctx, q.names.WebhookStream())
	if err == nil {
		err = s.DeleteMsg(ctx, id)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return ErrFailed
	}
	return err
}
