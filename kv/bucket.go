package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

const (
	// maxBatches bounds the concurrent atomic batches of this node for one stream. nats-server refuses more than 50
	// for one stream, from all nodes together, so three nodes stay below. A stream with one replica commits them one
	// by one anyway, each with a few fsyncs.
	maxBatches = 16
	// requestTimeout bounds a request to NATS if the caller's context has no deadline.
	requestTimeout = 10 * time.Second

	headerNonce     = "Im-Write" // tells a write whose acknowledgement was lost from another one
	headerOperation = "KV-Operation"
	operationDelete = "DEL"
)

// errKeyNotFound: the bucket has no message for the key.
var errKeyNotFound = errors.New("key not found")

// errChanged: a record changed while a caller decided on it.
var errChanged = errors.New("a record has changed meanwhile")

// errRule: a write or a purge breaks the rule of its kind of key. It shows a mistake in this package.
var errRule = errors.New("against the rule of its kind")

// bucket is one key-value bucket: a stream with one message for each subject.
type bucket struct {
	js       jetstream.JetStream
	nc       *nats.Conn
	api      string // what the subjects of JetStream's API begin with
	into     string // in front of the subjects of keys that are written
	location atomic.Pointer[location]
	batches  chan struct{} // holds a value for each atomic batch in progress
	// mayWrite is called before a write is sent. Its error refuses the write. nil refuses none.
	mayWrite func() error
}

// location is the stream of a bucket. A restore moves a bucket to another stream.
type location struct {
	stream     string
	prefix     string // of the subjects, with the dot
	kinds      []kind // of the keys
	replicated bool
}

func newBucket(js jetstream.JetStream, name string, replicas int) *bucket {
	b := newReader(js)
	b.batches = make(chan struct{}, maxBatches)
	b.relocate(name, replicas)
	return b
}

// newReader returns a bucket without a location, which writes no batches.
func newReader(js jetstream.JetStream) *bucket {
	domain := natsutil.Domain(js.Conn())
	return &bucket{js: js, nc: js.Conn(), api: subject.API(domain), into: subject.KeysIn(domain)}
}

// relocate makes b use the stream of the bucket with that name, from the next call on.
func (b *bucket) relocate(name string, replicas int) {
	b.location.Store(&location{stream: subject.BucketStream(name), prefix: subject.BucketKeys(name), kinds: kindsOf(name), replicated: replicas > 1})
}

func (b *bucket) stream() string   { return b.location.Load().stream }
func (b *bucket) prefix() string   { return b.location.Load().prefix }
func (b *bucket) kinds() []kind    { return b.location.Load().kinds }
func (b *bucket) replicated() bool { return b.location.Load().replicated }

// entry is a key as it was read.
type entry struct {
	key      string
	value    []byte
	revision uint64 // sequence of the message in the stream
	deleted  bool   // a delete marker or an expired message
	written  time.Time
	ttl      time.Duration // time to live; 0: it does not expire
	nonce    string        // of the write; only from the leader, "" if the stream has one replica
}

// expired reports whether the server should have removed the message by now.
func (e entry) expired() bool { return e.ttl > 0 && time.Since(e.written) > e.ttl }

// isMarker reports whether h is the header of a delete marker, written by this package, by a key-value client, or by
// the server in place of an expired message.
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

// purge removes all keys that match filter, with their messages. If before is not 0, it removes only messages before
// that revision. The keys must be of a kind that is never overwritten.
func (b *bucket) purge(ctx context.Context, filter string, before uint64) error {
	if k, _ := kindOf(b.kinds(), filter); k.rule != once {
		return fmt.Errorf("purge %s from %s: %w: keys of kind %s are %s", filter, b.stream(), errRule, k.name, k.rule)
	}
	return b.purgeSubjects(ctx, b.prefix()+filter, before)
}

// purgeSubjects removes the messages of all subjects that match filter; "" matches all. If before is not 0, it
// removes only messages before that revision.
func (b *bucket) purgeSubjects(ctx context.Context, filter string, before uint64) error {
	request := struct {
		Filter string `json:"filter,omitempty"`
		Before uint64 `json:"seq,omitempty"`
	}{filter, before}
	var response struct {
		apiResponse
		Success bool `json:"success"`
	}
	err := b.request(ctx, "STREAM.PURGE", request, &response)
	if err == nil && !response.Success {
		err = errors.New("the server reports no success")
	}
	if err != nil {
		return fmt.Errorf("purge %s: %w", b.stream(), err)
	}
	return nil
}

// apiResponse is the part that all responses of JetStream's API have.
type apiResponse struct {
	Error *jetstream.APIError `json:"error"`
}

func (r apiResponse) err() error {
	if r.Error == nil {
		return nil
	}
	return r.Error
}

// request sends a request for the bucket's stream to JetStream's API, for example STREAM.PURGE, and decodes the
// response. It repeats a request that is not answered, so the request may be carried out twice. It returns the server's
// error as a *jetstream.APIError.
func (b *bucket) request(ctx context.Context, api string, request any, response interface{ err() error }) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	var data []byte
	err = b.repeat(ctx, func(ctx context.Context) error {
		msg, err := b.nc.RequestWithContext(ctx, b.api+api+"."+b.stream(), body)
		if err != nil {
			return err
		}
		data = msg.Data
		var refused apiResponse
		if err := json.Unmarshal(data, &refused); err != nil {
			return err
		}
		return refused.err()
	})
	if err != nil {
		return err
	}
	return json.Unmarshal(data, response)
}

// withTimeout gives ctx a deadline if it has none. Without a deadline a request to NATS may wait forever.
func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, requestTimeout)
}
