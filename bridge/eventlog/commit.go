package eventlog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// plainEntries is the largest number of entries that are published one by one. A batch costs the disk as much as
	// ten to twenty single entries.
	plainEntries = 8
	// headerRoom is more than NATS adds to an entry in a batch.
	headerRoom = 512
	// commitFloor is the shortest time limit of a try, even if its oldest entry has expired: cutting a commit short
	// that is about to succeed would write all its other entries twice.
	commitFloor = time.Second
)

var errNotSent = errors.New("not sent")

// try writes the entries. It returns the written entries and the others, with the reason. After an error that NATS did
// not report itself, the others may be written too.
func (w *writer) try(entries []entry, now time.Time) (written, left []entry, err error) {
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
	if err := ctx.Err(); err != nil { // a batch that is never committed holds a place on the server
		return nil, entries, err
	}
	if w.log.opts.Plain || len(entries) <= plainEntries {
		return w.publish(ctx, entries)
	}
	if err := w.publishBatch(ctx, entries); err != nil {
		return nil, entries, err
	}
	return entries, nil, nil
}

// publish writes entries one by one, without waiting between them.
func (w *writer) publish(ctx context.Context, entries []entry) (written, left []entry, err error) {
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

// await waits for an acknowledgement. f is nil for an entry that was not sent.
func (w *writer) await(ctx context.Context, f jetstream.PubAckFuture) error {
	if f == nil {
		return errNotSent
	}
	select {
	case ack := <-f.Ok():
		return w.isOwn(ack.Stream)
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publishBatch writes all entries, or none, as one atomic batch.
func (w *writer) publishBatch(ctx context.Context, entries []entry) error {
	m := &nats.Msg{Header: nats.Header{}}
	if err := w.stage(m, entries); err != nil {
		return err
	}
	reply, err := w.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return fmt.Errorf("commit %d entries: %w", len(entries), err)
	}
	return w.acknowledged(reply.Data, len(entries))
}

// stage publishes all entries but the last, and fills m with the last one, which commits the batch.
func (w *writer) stage(m *nats.Msg, entries []entry) error {
	w.batch++
	seq := []string{""}
	m.Header["Nats-Batch-Id"] = []string{w.batches + strconv.FormatUint(w.batch, 36)}
	m.Header["Nats-Batch-Sequence"] = seq
	for i, e := range entries {
		m.Subject, m.Data = e.subject, e.data
		seq[0] = strconv.Itoa(i + 1)
		if i == len(entries)-1 {
			break
		}
		if err := w.nc.PublishMsg(m); err != nil {
			return fmt.Errorf("stage %d entries: %w", len(entries), err)
		}
	}
	m.Header["Nats-Batch-Commit"] = []string{"1"}
	return nil
}

// isOwn returns an error unless stream is the log's own.
func (w *writer) isOwn(stream string) error {
	if stream != w.log.stream {
		return fmt.Errorf("%w: %q stored the entries", ErrStream, stream)
	}
	return nil
}

// acknowledged returns an error unless the answer to a batch says that the log's stream has all its n entries.
func (w *writer) acknowledged(data []byte, n int) error {
	var ack struct {
		Stream string              `json:"stream"`
		Count  int                 `json:"count"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return fmt.Errorf("acknowledgement of %d entries: %w", n, err)
	}
	switch {
	case ack.Error != nil:
		return fmt.Errorf("commit %d entries: %w", n, ack.Error)
	case ack.Count != n:
		return fmt.Errorf("commit %d entries: NATS stored %d", n, ack.Count)
	}
	return w.isOwn(ack.Stream)
}

// disconnected cancels the current try, since its answer is lost.
func (w *writer) disconnected(*nats.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abort != nil {
		w.abort()
	}
}
