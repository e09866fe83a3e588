package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Status codes of the answers to direct gets.
const (
	statusEnd          = "204" // the last message of an answer
	statusNotFound     = "404" // nothing matches
	statusTooMany      = "413" // more than 1,024 keys match a request for the last message of each
	statusNoResponders = "503"
)

// get returns a key. If the key is deleted, get returns its delete marker, since a later write must expect its
// revision. A replica may lag. So with fresh, or if the nearest replica does not have the key, get reads from the
// stream's leader. A caller that decides on a change must read fresh: NATS checks a write against the leader, but it
// cannot check a decision to refuse one. Errors: errKeyNotFound.
func (b *bucket) get(ctx context.Context, key string, fresh bool) (entry, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if !b.replicated() || !fresh {
		e, err := b.getNearest(ctx, key)
		missing := errors.Is(err, errKeyNotFound) || err == nil && e.deleted
		if !b.replicated() || !missing {
			return e, err
		}
	}
	return b.getLeader(ctx, key)
}

// getNearest returns a key from any replica. Errors: errKeyNotFound.
func (b *bucket) getNearest(ctx context.Context, key string) (entry, error) {
	return b.getDirect(ctx, b.directSubject(key), nil)
}

// directSubject returns the subject on which any replica answers with a key.
func (b *bucket) directSubject(key string) string {
	return b.directAPI() + "." + b.prefix() + key
}

// directAPI returns the subject on which any replica answers requests for messages.
func (b *bucket) directAPI() string { return b.api + "DIRECT.GET." + b.stream() }

// getDirect requests one message from any replica. NATS prefers the replica of the server that the connection is to, also
// while that replica answers nothing. So if it does not answer in time, getDirect asks the stream's leader.
// Errors: errKeyNotFound.
func (b *bucket) getDirect(ctx context.Context, subject string, request []byte) (entry, error) {
	var e entry
	nearest := func(ctx context.Context) error {
		msg, err := b.nc.RequestWithContext(ctx, subject, request)
		if err == nil {
			e, err = b.decodeAnswer(msg)
		}
		return err
	}
	try := nearest
	if b.replicated() {
		try = func(ctx context.Context) (err error) {
			first, cancel := context.WithTimeout(ctx, nearestTimeout)
			err = nearest(first)
			cancel()
			if err != nil && b.unanswered(err) && ctx.Err() == nil {
				e, err = b.requestLeader(ctx, b.leaderRequest(subject, request))
			}
			return err
		}
	}
	err := b.repeat(ctx, try)
	if err != nil && !errors.Is(err, errKeyNotFound) {
		err = fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	return e, err
}

// leaderRequest returns the request to the leader for what a direct get asks for, in its body or by its subject.
func (b *bucket) leaderRequest(subject string, request []byte) any {
	if len(request) > 0 {
		return json.RawMessage(request)
	}
	return map[string]any{"last_by_subj": subject[len(b.directAPI())+1:]}
}

// getSequence returns the message with that sequence. Errors: errKeyNotFound.
func (b *bucket) getSequence(ctx context.Context, seq uint64) (entry, error) {
	var buffer [32]byte
	body := append(strconv.AppendUint(append(buffer[:0], `{"seq":`...), seq, 10), '}')
	e, err := b.getDirect(ctx, b.directAPI(), body)
	if errors.Is(err, errKeyNotFound) && b.replicated() { // the replica may lag
		e, err = b.requestLeader(ctx, json.RawMessage(body))
	}
	return e, err
}

// decodeAnswer decodes the answer to a direct get. Errors: errKeyNotFound.
func (b *bucket) decodeAnswer(msg *nats.Msg) (entry, error) {
	if status := msg.Header.Get("Status"); status != "" && len(msg.Data) == 0 {
		switch status {
		case statusNotFound:
			return entry{}, errKeyNotFound
		case statusNoResponders:
			return entry{}, nats.ErrNoResponders
		}
		return entry{}, fmt.Errorf("%s %s", status, msg.Header.Get("Description"))
	}
	return b.decodeDirect(msg)
}

// decodeDirect decodes a message of a direct get, which has the stored message's subject and sequence in headers.
func (b *bucket) decodeDirect(msg *nats.Msg) (entry, error) {
	subject := msg.Header.Get(jetstream.SubjectHeader)
	revision, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil || len(subject) <= len(b.prefix()) {
		return entry{}, fmt.Errorf("read from %s: the answer has no subject or sequence", b.stream())
	}
	written, err := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return entry{}, fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	e := entry{
		key:      strings.Clone(subject[len(b.prefix()):]), // otherwise an id would hold all headers in memory
		value:    msg.Data,
		revision: revision,
		written:  written,
		ttl:      ttlOf(msg.Header),
	}
	e.deleted = isMarker(msg.Header) || e.expired()
	return e, nil
}

// getMany returns many keys. Missing and deleted keys are not in the map.
func (b *bucket) getMany(ctx context.Context, keys []string) (map[string]entry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var entries map[string]entry
	try := func(ctx context.Context) (err error) {
		entries, err = b.getManyNearest(ctx, keys)
		if err != nil && b.replicated() && b.unanswered(err) {
			return nil // the leader answers the rest
		}
		return err
	}
	if err := b.repeat(ctx, try); err != nil {
		return nil, fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	if b.replicated() {
		if err := b.addMissing(ctx, keys, entries); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(entries, func(_ string, e entry) bool { return e.deleted })
	return entries, nil
}

// getManyNearest returns keys from any replicas, deleted ones too. It sends all requests before it waits for the first
// answer, and receives all answers on one subject, which is half the work of as many calls of get. After an error it
// returns the keys that were answered.
func (b *bucket) getManyNearest(ctx context.Context, keys []string) (map[string]entry, error) {
	entries := make(map[string]entry, len(keys))
	answers := make(chan *nats.Msg, len(keys))
	sub, err := b.nc.ChanSubscribe(b.nc.NewInbox(), answers)
	if err == nil {
		err = sub.AutoUnsubscribe(len(keys))
	}
	if err != nil {
		return entries, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if all answers have arrived
	for _, key := range keys {
		if err := b.nc.PublishRequest(b.directSubject(key), sub.Subject, nil); err != nil {
			return entries, err
		}
	}
	for range keys {
		select {
		case msg := <-answers:
			e, err := b.decodeAnswer(msg)
			if errors.Is(err, errKeyNotFound) { // the answer does not name the key
				continue
			}
			if err != nil {
				return entries, err
			}
			entries[e.key] = e
		case <-ctx.Done():
			return entries, ctx.Err()
		}
	}
	return entries, nil
}

// addMissing reads the keys that a replica did not have from the leader.
func (b *bucket) addMissing(ctx context.Context, keys []string, entries map[string]entry) error {
	for _, key := range keys {
		if e, ok := entries[key]; ok && !e.deleted {
			continue
		}
		e, err := b.getLeader(ctx, key)
		if errors.Is(err, errKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		entries[key] = e
	}
	return nil
}

// getLeader returns a key from the stream's leader. Errors: errKeyNotFound.
func (b *bucket) getLeader(ctx context.Context, key string) (entry, error) {
	return b.requestLeader(ctx, map[string]any{"last_by_subj": b.prefix() + key})
}

// requestLeader requests one message from the stream's leader. Errors: errKeyNotFound.
func (b *bucket) requestLeader(ctx context.Context, request any) (entry, error) {
	var response struct {
		apiResponse
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	err := b.request(ctx, "STREAM.MSG.GET", request, &response)
	if hasCode(err, jetstream.JSErrCodeMessageNotFound) {
		return entry{}, errKeyNotFound
	}
	if err == nil && (response.Message == nil || !strings.HasPrefix(response.Message.Subject, b.prefix())) {
		err = jetstream.ErrInvalidJSAck
	}
	if err != nil {
		return entry{}, fmt.Errorf("read from the leader of %s: %w", b.stream(), err)
	}
	m := response.Message
	e := entry{key: m.Subject[len(b.prefix()):], value: m.Data, revision: m.Sequence, written: m.Time}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return entry{}, fmt.Errorf("read from the leader of %s: %w", b.stream(), err)
		}
		e.ttl, e.nonce = ttlOf(h), h.Get(headerNonce)
		e.deleted = isMarker(h) || e.expired()
	}
	return e, nil
}
