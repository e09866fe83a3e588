package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv/batch"
)

const (
	// plainEntries is up to how many entries are published side by side and not as a batch, which costs the disk as much
	// as ten or twenty of them.
	plainEntries = 8
	// headerRoom is what NATS adds to an entry in a batch, and to spare.
	headerRoom = 512
	// commitFloor is the least that one try may take, however late its oldest entry is: cutting a commit short that is
	// about to succeed would make all its other entries be written twice.
	commitFloor = time.Second
)

var errNotSent = errors.New("not sent")

// try writes the entries and returns those that are written and those that are not, with the reason. After an error
// other than NATS's own, the latter may be written too.
func (w *logWriter) try(entries []logEntry, now time.Time) (written, left []logEntry, err error) {
	limit := entries[0].expires
	for _, e := range entries[1:] {
		if e.expires.Before(limit) {
			limit = e.expires
		}
	}
	if floor := now.Add(commitFloor); limit.Before(floor) {
		limit = floor
	}
	ctx, cancel := context.WithDeadline(w.ctx, limit)
	defer cancel()
	w.mu.Lock()
	w.abort = cancel
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.abort = nil
		w.mu.Unlock()
	}()
	if err := ctx.Err(); err != nil { // a batch that is staged and never committed is a burden on the server
		return nil, entries, err
	}
	if w.log.o.Plain || len(entries) <= plainEntries {
		return w.publish(ctx, entries)
	}
	if err := w.publishBatch(ctx, entries); err != nil {
		return nil, entries, err
	}
	return entries, nil, nil
}

// publish writes entries side by side.
func (w *logWriter) publish(ctx context.Context, entries []logEntry) (written, left []logEntry, err error) {
	acks := make([]jetstream.PubAckFuture, len(entries))
	for i, e := range entries {
		if acks[i], err = w.js.PublishAsync(e.subject, e.data, jetstream.WithRetryAttempts(0)); err != nil {
			break
		}
	}
	first := err
	for i, e := range entries {
		if err := w.await(ctx, acks[i]); err != nil {
			left = append(left, e)
			first = cmp.Or(first, err)
		} else if left != nil {
			written = append(written, e)
		} else {
			written = entries[: i+1 : i+1]
		}
	}
	if first == nil {
		return entries, nil, nil
	}
	return written, left, fmt.Errorf("publish %d entries: %w", len(entries), first)
}

// await waits for an acknowledgement; nil is that of an entry which was not sent.
func (w *logWriter) await(ctx context.Context, f jetstream.PubAckFuture) error {
	if f == nil {
		return errNotSent
	}
	select {
	case ack := <-f.Ok():
		return w.ours(ack.Stream)
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publishBatch writes the entries as one atomic batch, all or none.
func (w *logWriter) publishBatch(ctx context.Context, entries []logEntry) error {
	w.batch++
	ack, err := batch.Batch{
		ID:      w.batches + strconv.FormatUint(w.batch, 36),
		Size:    len(entries),
		Message: func(i int, m *nats.Msg) { m.Subject, m.Data = entries[i].subject, entries[i].data },
	}.Publish(ctx, w.nc)
	if err != nil {
		return fmt.Errorf("commit %d entries: %w", len(entries), err)
	}
	return w.ours(ack.Stream)
}

// ours is nil for the name of the log's own stream.
func (w *logWriter) ours(stream string) error {
	if stream != w.log.stream {
		return fmt.Errorf("%w: %q has taken the entries", ErrLogStream, stream)
	}
	return nil
}

// disconnected ends the try under way: its answer will not come.
func (w *logWriter) disconnected(*nats.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abort != nil {
		w.abort()
	}
}
