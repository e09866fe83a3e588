package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv/batch"
)

// write is a write of one key.
type write struct {
	key      string
	value    []byte
	expect   uint64        // the revision that the key must have, 0 for no message; only if guarded
	guarded  bool          // check expect
	marker   bool          // write a delete marker instead of a value
	ttl      time.Duration // time to live of an expiring key
	minTTL   time.Duration // time to live of the message that it replaces
	rewrites bool          // an upgrade writes the existing value again
}

// put returns the write of a key, whatever its revision.
func put(key string, value []byte) write { return write{key: key, value: value} }

// putAt returns the write of a key that must have the revision, 0 for no message.
func putAt(key string, value []byte, revision uint64) write {
	return write{key: key, value: value, expect: revision, guarded: true}
}

// putFor returns the write of an expiring key that replaces e, which may be the zero entry. The key expires after
// ttl, but not before e.
func putFor(key string, value []byte, e entry, ttl time.Duration) write {
	ttl = ttl.Truncate(time.Second) + time.Second // NATS uses whole seconds
	return write{key: key, value: value, expect: e.revision, guarded: true, ttl: max(ttl, e.ttl), minTTL: e.ttl}
}

// asMarker returns the write of a delete marker in place of the value.
func (w write) asMarker() write {
	w.value, w.marker = nil, true
	return w
}

// fill sets the subject, data and headers of the message that carries w.
func (b *bucket) fill(m *nats.Msg, w write, nonce string) {
	m.Subject, m.Data = b.into+b.prefix()+w.key, w.value
	if nonce != "" {
		m.Header.Set(headerNonce, nonce)
	}
	if w.guarded {
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(w.expect, 10))
	}
	if w.marker {
		m.Header.Set(headerOperation, operationDelete)
	}
	if w.ttl != 0 {
		m.Header.Set(jetstream.MsgTTLHeader, w.ttl.String())
	}
}

// check returns an error if a write breaks the rule of its kind.
func (b *bucket) check(writes ...write) error {
	all := b.kinds()
	for _, w := range writes {
		k, ok := kindOf(all, w.key)
		if !ok {
			return fmt.Errorf("write to %s: %w: key %s is of no declared kind", b.stream(), errRule, w.key)
		}
		if err := k.check(w); err != nil {
			return fmt.Errorf("write to %s: %w: %w", b.stream(), errRule, err)
		}
	}
	return nil
}

// writable returns nil while writes are accepted. Errors: ErrReadOnly.
func (b *bucket) writable() error {
	if b.mayWrite == nil {
		return nil
	}
	if err := b.mayWrite(); err != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return nil
}

// write is store, unless writes are refused. Errors: those of store, and ErrReadOnly, with which nothing is written.
func (b *bucket) write(ctx context.Context, writes ...write) (uint64, error) {
	if err := b.writable(); err != nil {
		return 0, err
	}
	return b.store(ctx, writes...)
}

// store writes all of writes or none, and returns the revision of the last one. The revisions of the others directly
// precede it. After an error for which conflicting or tooManyBatches holds, nothing is written. After any other error
// it is unknown whether the writes took effect.
//
// With several replicas, a leader that dies may have stored a write and not acknowledged it. So store writes again what
// is not acknowledged. A leader that does not know yet that it was replaced may refuse what the new one stores. So
// after a conflict store reads whether an attempt of its own is what it conflicts with.
func (b *bucket) store(ctx context.Context, writes ...write) (uint64, error) {
	if err := b.check(writes...); err != nil {
		return 0, err
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if !b.replicated() {
		return b.publish(ctx, "", writes)
	}
	nonce := NewID()[:16]
	limit, pause := writeTimeout, openPause
	for again := false; ; again = true {
		if again {
			writes = onceOnly(b.kinds(), writes)
		}
		attempt, cancel := context.WithTimeout(ctx, limit)
		last, err := b.publish(attempt, nonce, writes)
		cancel()
		if Conflicting(err) {
			var stored bool
			if last, stored, err = b.stored(ctx, nonce, writes, err); stored {
				return last, nil
			}
		}
		switch {
		case errors.Is(err, errOpen):
			if sleep(ctx, pause) != nil {
				return 0, err
			}
			pause = min(2*pause, attemptPause)
		case err == nil || !b.unanswered(err) || !b.pauseAfter(ctx, err):
			return last, err
		default:
			limit *= 2
		}
	}
}

// openPause is the first pause after errOpen.
const openPause = 2 * time.Millisecond

// errOpen: a write conflicts, and what it conflicts with is not committed yet.
var errOpen = fmt.Errorf("%w: the outcome of a write is open", nats.ErrTimeout)

// onceOnly returns the writes for a further attempt. A random key must not be written twice: see kinds.go.
func onceOnly(all []kind, writes []write) []write {
	writes = slices.Clone(writes)
	for i := range writes {
		if k, _ := kindOf(all, writes[i].key); k.rule == once {
			writes[i].guarded = true
		}
	}
	return writes
}

// stored reports whether an attempt of writes, which have the nonce, is stored, and returns the revision of the last
// one. conflict is the error of an attempt. stored returns it if another write was faster, and errOpen if no later
// revision is to be read: the leader may not have committed it yet, or it is an earlier leader.
func (b *bucket) stored(ctx context.Context, nonce string, writes []write, conflict error) (uint64, bool, error) {
	open := true
	for i, w := range writes {
		e, err := b.getLeader(ctx, w.key)
		if err != nil && !errors.Is(err, errKeyNotFound) {
			return 0, false, err
		}
		if err == nil && e.nonce == nonce {
			return e.revision + uint64(len(writes)-1-i), true, nil
		}
		if w.guarded && (e.revision > w.expect || e.revision == 0 && w.expect != 0) {
			open = false
		}
	}
	if open {
		return 0, false, fmt.Errorf("%w: %v", errOpen, conflict)
	}
	return 0, false, conflict
}

// publish writes all of writes or none, in one attempt. "" is no nonce.
func (b *bucket) publish(ctx context.Context, nonce string, writes []write) (uint64, error) {
	if len(writes) == 1 { // costs a sixth of a batch
		m := &nats.Msg{Header: nats.Header{}}
		b.fill(m, writes[0], nonce)
		ack, err := b.js.PublishMsg(ctx, m)
		if err != nil {
			return 0, fmt.Errorf("write to %s: %w", b.stream(), err)
		}
		return ack.Sequence, nil
	}
	select {
	case b.batches <- struct{}{}:
		defer func() { <-b.batches }()
	case <-ctx.Done():
		return 0, fmt.Errorf("write to %s: %w", b.stream(), ctx.Err())
	}
	ack, err := batch.Batch{
		ID:       NewID(),
		Size:     len(writes),
		Message:  func(i int, m *nats.Msg) { b.fill(m, writes[i], nonce) },
		AckFirst: true, // so that a refusal is reported before the rest is sent
	}.Publish(ctx, b.nc)
	if err != nil {
		return 0, fmt.Errorf("write to %s: %w", b.stream(), err)
	}
	return ack.Sequence, nil
}
