package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pageKeys and pageBytes bound a page. All keys of a page fit into one batch of writes.
	pageKeys, pageBytes = bulkBatch, bulkBytes
	// pageAhead and pageAheadBytes are how much the server sends ahead of the page that is worked on. No message may be
	// larger.
	pageAhead, pageAheadBytes = 4 * pageKeys, 16 << 20
	// pageQuiet is how long no message may come before the leader is asked whether there are any more.
	pageQuiet = time.Second
	// pageWork is how long the work on a page may take before the server removes the consumer; the client then makes
	// another. It is also how long the consumer outlives the call.
	pageWork = time.Minute
)

// pages calls do with the entries of the bucket in the order of writing, a page at a time, up to revision upTo, which has
// been written; 0 means the last one. do may write to the bucket. An entry's ttl is set.
//
// It reads by an ordered consumer, whose cost is the same for each key. A direct get of the next key costs the more the
// more keys the stream has as soon as its first messages are gone, and the moves of an upgrade remove them.
func (b *bucket) pages(ctx context.Context, upTo uint64, do func([]entry) error) error {
	failed := func(err error) error { return fmt.Errorf("read from %s: %w", b.stream(), err) }
	stream, err := b.js.Stream(ctx, b.stream())
	if err != nil {
		return failed(err)
	}
	state := stream.CachedInfo().State
	if upTo == 0 {
		upTo = state.LastSeq
	}
	if state.Msgs == 0 || state.FirstSeq > upTo {
		return nil
	}
	consumer, err := b.js.OrderedConsumer(ctx, b.stream(), jetstream.OrderedConsumerConfig{InactiveThreshold: pageWork})
	if err != nil {
		return failed(err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(pageAhead, pageAheadBytes))
	if err != nil {
		return failed(err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	var page []entry
	for at, size, end := uint64(0), 0, false; !end; {
		m, err := messages.Next(jetstream.NextMaxWait(pageQuiet))
		quiet := errors.Is(err, nats.ErrTimeout)
		switch {
		case ctx.Err() != nil:
			return failed(ctx.Err())
		case quiet:
			if end, err = b.endsAt(ctx, at, upTo); err != nil {
				return err
			}
		case err != nil:
			return failed(err)
		default:
			e, pending, err := b.delivered(m)
			if err != nil {
				return failed(err)
			}
			at = e.revision
			if at <= upTo {
				page, size = append(page, e), size+len(e.value)
			}
			if end = at >= upTo; !end && pending == 0 { // a replica may be late
				if end, err = b.endsAt(ctx, at, upTo); err != nil {
					return err
				}
			}
		}
		if len(page) > 0 && (end || quiet || len(page) == pageKeys || size >= pageBytes) {
			if err := do(page); err != nil {
				return err
			}
			page, size = nil, 0
		}
	}
	return nil
}

// delivered reads a message of a consumer, and tells how many come after it.
func (b *bucket) delivered(m jetstream.Msg) (e entry, pending uint64, err error) {
	meta, err := m.Metadata()
	if err != nil || len(m.Subject()) <= len(b.prefix()) {
		return entry{}, 0, errors.Join(err, fmt.Errorf("a message on %s is no record", m.Subject()))
	}
	e = entry{key: m.Subject()[len(b.prefix()):], value: m.Data(), revision: meta.Sequence.Stream, written: meta.Timestamp, ttl: ttlOf(m.Headers())}
	e.deleted = isMarker(m.Headers()) || e.expired()
	return e, meta.NumPending, nil
}

// endsAt tells whether the stream has no message after one revision and up to another.
func (b *bucket) endsAt(ctx context.Context, after, upTo uint64) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	e, err := b.askLeader(ctx, map[string]any{"next_by_subj": b.prefix() + ">", "seq": after + 1})
	if errors.Is(err, errNoKey) {
		return true, nil
	}
	return e.revision > upTo, err
}
