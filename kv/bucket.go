package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxBatches is how many atomic batches of one stream this node has under way at once. The
	// server refuses more than 50 for one stream, from all nodes together: three nodes stay
	// below. On one replica the server takes them one by one anyway, each with some fsyncs.
	maxBatches = 16
	// timeout bounds one exchange with the server where the caller's context has no bound.
	timeout = 10 * time.Second

	headerOperation = "KV-Operation"
	operationDelete = "DEL"
)

// errNoKey: the bucket has no such key.
var errNoKey = errors.New("no such key")

// errRule: a write or a purge breaks the rule of its kind of key. It shows a mistake in this package.
var errRule = errors.New("against the rule of its kind")

// bucket is one key-value bucket: a stream with one message a subject.
type bucket struct {
	js      jetstream.JetStream
	nc      *nats.Conn
	at      atomic.Pointer[place]
	batches chan struct{} // a place for each atomic batch under way
	// mayWrite is called before a write is sent. Its error refuses the write. nil refuses none.
	mayWrite func() error
}

// place is the stream of a bucket. A restore moves a bucket to another stream.
type place struct {
	stream     string
	prefix     string // of the subjects, with the dot
	kinds      []kind // of keys
	replicated bool
}

func newBucket(js jetstream.JetStream, name string, replicas int) *bucket {
	b := &bucket{js: js, nc: js.Conn(), batches: make(chan struct{}, maxBatches)}
	b.move(name, replicas)
	return b
}

// move makes b use the stream of the bucket with that name, from the next call on.
func (b *bucket) move(name string, replicas int) {
	b.at.Store(&place{stream: streamOf(name), prefix: "$KV." + name + ".", kinds: kindsOf(name), replicated: replicas > 1})
}

// streamOf names the stream of a bucket.
func streamOf(bucket string) string { return "KV_" + bucket }

func (b *bucket) stream() string   { return b.at.Load().stream }
func (b *bucket) prefix() string   { return b.at.Load().prefix }
func (b *bucket) replicated() bool { return b.at.Load().replicated }

// entry is one key as it was read.
type entry struct {
	key      string
	value    []byte
	revision uint64 // the message's sequence in the stream
	deleted  bool   // a delete marker, or an expired message
	written  time.Time
	ttl      time.Duration // time to live; 0: it does not expire
}

// get reads a key. A delete marker is returned as such, since its revision is what a later write
// has to expect. A replica may lag: so with fresh, or if the nearest replica does not have the key,
// get asks the stream's leader. A caller that changes something reads fresh: NATS checks a write
// against the leader, but not a refusal. Returns errNoKey.
func (b *bucket) get(ctx context.Context, key string, fresh bool) (entry, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if !b.replicated() || !fresh {
		e, err := b.getNearest(ctx, key)
		missing := errors.Is(err, errNoKey) || err == nil && e.deleted
		if !b.replicated() || !missing {
			return e, err
		}
	}
	return b.getLeader(ctx, key)
}

func (b *bucket) getNearest(ctx context.Context, key string) (entry, error) {
	return b.direct(ctx, b.directly(key), nil)
}

// directly is the subject on which any replica answers with a key.
func (b *bucket) directly(key string) string {
	return "$JS.API.DIRECT.GET." + b.stream() + "." + b.prefix() + key
}

// direct asks any replica for one message. Returns errNoKey.
func (b *bucket) direct(ctx context.Context, subject string, request []byte) (entry, error) {
	msg, err := b.nc.RequestWithContext(ctx, subject, request)
	if err != nil {
		return entry{}, fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	return b.answer(msg)
}

// answer decodes the answer to a direct get. Returns errNoKey.
func (b *bucket) answer(msg *nats.Msg) (entry, error) {
	if status := msg.Header.Get("Status"); status != "" && len(msg.Data) == 0 {
		switch status {
		case statusNone:
			return entry{}, errNoKey
		case statusNobody:
			return entry{}, fmt.Errorf("read from %s: %w", b.stream(), nats.ErrNoResponders)
		}
		return entry{}, fmt.Errorf("read from %s: %s %s", b.stream(), status, msg.Header.Get("Description"))
	}
	return b.entry(msg)
}

// getMany reads many keys at once. Missing and deleted keys are not in the map. It sends all requests before it waits for
// the first answer, and receives all answers on one subject, which is half the work of as many calls of get.
func (b *bucket) getMany(ctx context.Context, keys []string) (map[string]entry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	answers := make(chan *nats.Msg, len(keys))
	sub, err := b.nc.ChanSubscribe(b.nc.NewInbox(), answers)
	if err == nil {
		err = sub.AutoUnsubscribe(len(keys))
	}
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails when all have come
	for _, key := range keys {
		if err := b.nc.PublishRequest(b.directly(key), sub.Subject, nil); err != nil {
			return nil, fmt.Errorf("read from %s: %w", b.stream(), err)
		}
	}
	entries := make(map[string]entry, len(keys))
	for range keys {
		select {
		case msg := <-answers:
			e, err := b.answer(msg)
			if errors.Is(err, errNoKey) { // the answer does not name the key
				continue
			}
			if err != nil {
				return nil, err
			}
			entries[e.key] = e
		case <-ctx.Done():
			return nil, fmt.Errorf("read from %s: %w", b.stream(), ctx.Err())
		}
	}
	if b.replicated() {
		if err := b.recheck(ctx, keys, entries); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(entries, func(_ string, e entry) bool { return e.deleted })
	return entries, nil
}

// recheck asks the leader for the keys that a replica did not have.
func (b *bucket) recheck(ctx context.Context, keys []string, entries map[string]entry) error {
	for _, key := range keys {
		if e, ok := entries[key]; ok && !e.deleted {
			continue
		}
		e, err := b.getLeader(ctx, key)
		if errors.Is(err, errNoKey) {
			continue
		}
		if err != nil {
			return err
		}
		entries[key] = e
	}
	return nil
}

func (b *bucket) getLeader(ctx context.Context, key string) (entry, error) {
	e, err := b.askLeader(ctx, map[string]any{"last_by_subj": b.prefix() + key})
	e.key = key
	return e, err
}

// askLeader asks the stream's leader for one message. The entry lacks its key. Returns errNoKey.
func (b *bucket) askLeader(ctx context.Context, request map[string]any) (entry, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return entry{}, err
	}
	msg, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+b.stream(), body)
	if err != nil {
		return entry{}, fmt.Errorf("read from the leader of %s: %w", b.stream(), err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return entry{}, fmt.Errorf("read from the leader of %s: %w", b.stream(), err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return entry{}, errNoKey
	case answer.Error != nil:
		return entry{}, fmt.Errorf("read from the leader of %s: %w", b.stream(), answer.Error)
	case answer.Message == nil:
		return entry{}, fmt.Errorf("read from the leader of %s: %w", b.stream(), jetstream.ErrInvalidJSAck)
	}
	m := answer.Message
	e := entry{value: m.Data, revision: m.Sequence, written: m.Time}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return entry{}, fmt.Errorf("read from the leader of %s: %w", b.stream(), err)
		}
		e.ttl = ttlOf(h)
		e.deleted = isMarker(h) || e.expired()
	}
	return e, nil
}

// entry decodes the answer to a direct get, which has the message's subject and sequence in headers.
func (b *bucket) entry(msg *nats.Msg) (entry, error) {
	subject := msg.Header.Get(jetstream.SubjectHeader)
	revision, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil || len(subject) <= len(b.prefix()) {
		return entry{}, fmt.Errorf("read from %s: an answer without subject or sequence", b.stream())
	}
	written, err := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return entry{}, fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	e := entry{
		key:      subject[len(b.prefix()):],
		value:    msg.Data,
		revision: revision,
		written:  written,
		ttl:      ttlOf(msg.Header),
	}
	e.deleted = isMarker(msg.Header) || e.expired()
	return e, nil
}

// expired reports whether the server should have removed the message by now.
func (e entry) expired() bool { return e.ttl > 0 && time.Since(e.written) > e.ttl }

// isMarker reports whether h is that of a delete marker, written by this package, by a key-value client,
// or by the server in place of an expired message.
func isMarker(h nats.Header) bool {
	return h.Get(headerOperation) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}

// ttlOf returns the time to live of a message, 0 for a message that does not expire.
func ttlOf(h nats.Header) time.Duration {
	value := h.Get(jetstream.MsgTTLHeader)
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(seconds) * time.Second
	}
	ttl, err := time.ParseDuration(value)
	if err != nil {
		return 0 // "never"
	}
	return ttl
}

// purge removes every key under filter, and its messages. If before is not 0, it removes only messages
// before that revision. The keys must be of a kind that is never overwritten.
func (b *bucket) purge(ctx context.Context, filter string, before uint64) error {
	if k, _ := kindOf(b.at.Load().kinds, filter); k.rule != once {
		return fmt.Errorf("purge %s from %s: %w: keys of kind %s are %s", filter, b.stream(), errRule, k.name, k.rule)
	}
	return b.purgeAll(ctx, b.prefix()+filter, before)
}

// purgeAll removes the messages of all subjects under filter, "" for the whole stream. If before is not 0, it removes
// only messages before that revision.
func (b *bucket) purgeAll(ctx context.Context, filter string, before uint64) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	body, err := json.Marshal(struct {
		Filter string `json:"filter,omitempty"`
		Before uint64 `json:"seq,omitempty"`
	}{filter, before})
	if err != nil {
		return err
	}
	msg, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+b.stream(), body)
	if err != nil {
		return fmt.Errorf("purge %s: %w", b.stream(), err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return fmt.Errorf("purge %s: %w", b.stream(), err)
	}
	if answer.Error != nil {
		return fmt.Errorf("purge %s: %w", b.stream(), answer.Error)
	}
	if !answer.Success {
		return fmt.Errorf("purge %s: the server reports no success", b.stream())
	}
	return nil
}

// bounded gives ctx a deadline if it has none: a request to NATS waits for ever without.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}
