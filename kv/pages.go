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
	// prefetchKeys and prefetchBytes bound what the server sends ahead of the page in work. No message may be larger.
	prefetchKeys, prefetchBytes = 4 * pageKeys, 16 << 20
	// pageIdle is how long pages waits for a message before it asks the leader whether there are more.
	pageIdle = time.Second
	// pageWork is how long the work on a page may take before the server removes the consumer. The client then creates
	// another one. It is also how long the consumer outlives the call.
	pageWork = time.Minute
)

// pages calls do with the entries of the whole bucket, delete markers included, in the order of writing and one page
// at a time. It ends with revision upTo, which must be written already; 0 means the last one. do may write to the
// bucket. An error of do ends the call and is returned.
//
// pages reads by an ordered consumer, whose cost is the same for each key. The cost of a direct get of the next key
// grows with the number of keys as soon as the stream's first messages are removed, and an upgrade removes them.
func (b *bucket) pages(ctx context.Context, upTo uint64, do func([]entry) error) error {
	failed := func(err error) error { return fmt.Errorf("read from %s: %w", b.stream(), err) }
	stream, err := findStream(ctx, b.js, b.stream())
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
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(prefetchKeys, prefetchBytes))
	if err != nil {
		return failed(err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	var page []entry
	for revision, size, end := uint64(0), 0, false; !end; {
		m, err := messages.Next(jetstream.NextMaxWait(pageIdle))
		idle := errors.Is(err, nats.ErrTimeout)
		switch {
		case ctx.Err() != nil:
			return failed(ctx.Err())
		case idle:
			if end, err = b.endsAfter(ctx, revision, upTo); err != nil {
				return err
			}
		case err != nil:
			return failed(err)
		default:
			e, pending, err := b.decodeDelivered(m)
			if err != nil {
				return failed(err)
			}
			revision = e.revision
			if revision <= upTo {
				page, size = append(page, e), size+len(e.value)
			}
			if end = revision >= upTo; !end && pending == 0 { // the replica may lag
				if end, err = b.endsAfter(ctx, revision, upTo); err != nil {
					return err
				}
			}
		}
		if len(page) > 0 && (end || idle || len(page) == pageKeys || size >= pageBytes) {
			if err := do(page); err != nil {
				return err
			}
			page, size = nil, 0
		}
	}
	return nil
}

// decodeDelivered decodes a message of a consumer, and returns how many messages the consumer has after it.
func (b *bucket) decodeDelivered(m jetstream.Msg) (e entry, pending uint64, err error) {
	meta, err := m.Metadata()
	if err != nil || len(m.Subject()) <= len(b.prefix()) {
		return entry{}, 0, errors.Join(err, fmt.Errorf("a message on %s is no record", m.Subject()))
	}
	e = entry{
		key:      m.Subject()[len(b.prefix()):],
		value:    m.Data(),
		revision: meta.Sequence.Stream,
		written:  meta.Timestamp,
		ttl:      ttlOf(m.Headers()),
	}
	e.deleted = isMarker(m.Headers()) || e.expired()
	return e, meta.NumPending, nil
}

// endsAfter reports whether the stream has no message after revision up to revision upTo. The stream's leader answers.
func (b *bucket) endsAfter(ctx context.Context, revision, upTo uint64) (bool, error) {
	e, err := b.requestLeader(ctx, map[string]any{"next_by_subj": b.prefix() + ">", "seq": revision + 1})
	if errors.Is(err, errKeyNotFound) {
		return true, nil
	}
	return e.revision > upTo, err
}
