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

// errRule: a write or a purge breaks the rule of the kind of key. Only a mistake in this package leads to it.
var errRule = errors.New("against the rule of its kind")

// bucket is one key-value bucket: a stream with one message a subject.
type bucket struct {
	js      jetstream.JetStream
	nc      *nats.Conn
	at      atomic.Pointer[place]
	batches chan struct{} // a place for each atomic batch under way
	// mayWrite refuses a write by an error before it is sent; nil: nothing is refused.
	mayWrite func() error
}

// place is the stream that a bucket is in. A restore moves a bucket to another one.
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

// move makes the bucket use the stream of that bucket name from the next call on.
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
	deleted  bool   // it is a delete marker, or has expired
	written  time.Time
	ttl      time.Duration // how long it lives; 0: it does not expire
}

// get reads a key. A delete marker is returned as such, since its revision is what a later write
// has to expect. A replica may be late: so with fresh, or when the nearest one does not have the key,
// the stream's leader is asked. Whoever changes something reads fresh, since a refusal, unlike a
// write, is not checked by anybody again. Returns errNoKey.
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

// answer reads the answer to a direct get. Returns errNoKey.
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

// getMany reads many keys at once; those that are not there, or deleted, are not in the map. All requests are on their way
// before the first answer is waited for, and all answers come to one subject: half the work of as many calls of get.
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
			if errors.Is(err, errNoKey) { // nothing says which
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

// recheck asks the leader for what a replica did not have.
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

// entry reads the answer to a direct get, which carries the message's place in headers.
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

// expired tells whether the server should have removed the message by now.
func (e entry) expired() bool { return e.ttl > 0 && time.Since(e.written) > e.ttl }

// isMarker tells a delete marker: one of ours, one that a key-value client wrote, or one that the
// server leaves where a message expired.
func isMarker(h nats.Header) bool {
	return h.Get(headerOperation) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}

// ttlOf returns how long a message lives; 0 for one that does not expire.
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

// purge removes every key under filter, and its messages. With before, only what was written
// before that revision. The keys are of a kind that is never overwritten.
func (b *bucket) purge(ctx context.Context, filter string, before uint64) error {
	if k, _ := kindOf(b.at.Load().kinds, filter); k.rule != once {
		return fmt.Errorf("purge %s from %s: %w: keys of kind %s are %s", filter, b.stream(), errRule, k.name, k.rule)
	}
	return b.purgeAll(ctx, b.prefix()+filter, before)
}

// purgeAll removes the messages of all subjects under filter, "" for the whole stream, with before only those that were
// written before that revision.
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
		return fmt.Errorf("purge %s: the server did not", b.stream())
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
