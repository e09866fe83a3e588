package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"imctl/kv/batch"
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
	// electionWait bounds a try in a cluster. A request to a leader that is gone is never answered, and the next one finds
	// the new leader.
	electionWait = 1500 * time.Millisecond
	// duplicateWindow is how long NATS remembers the ids of entries in a cluster, at least.
	duplicateWindow = 30 * time.Second
)

// Error codes of JetStream for which the client has no constants.
const (
	codeDuplicateInProcess jetstream.ErrorCode = 10158 // the first try of the entry is not decided yet
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
	if w.clustered() {
		if soon := now.Add(electionWait); soon.Before(limit) {
			limit = soon
		}
		w.identify(entries)
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
	if w.log.opts.Plain || w.plainIDs || len(entries) <= plainEntries {
		return w.publish(ctx, entries)
	}
	err = w.publishBatch(ctx, entries)
	switch {
	case apiCode(err) == jetstreamext.JSErrCodeBatchPublishDuplicateMsgID: // an earlier try is stored: NATS acknowledges its entries one by one
		return w.publish(ctx, entries)
	case apiCode(err) == jetstreamext.JSErrCodeBatchPublishUnsupportedHeader: // an older server takes no ids in batches
		w.plainIDs = true
		return w.publish(ctx, entries)
	case err != nil:
		return nil, entries, err
	}
	return entries, nil, nil
}

// clustered reports whether the stream may have several replicas, which elect a leader.
func (w *writer) clustered() bool { return w.replicas > 1 || w.nc.ConnectedClusterName() != "" }

// identify gives entries that have none an id, so that NATS stores an entry once although it is published again.
func (w *writer) identify(entries []entry) {
	for i := range entries {
		if entries[i].id == "" {
			w.lastID++
			entries[i].id = w.batches + "." + strconv.FormatUint(w.lastID, 36)
		}
	}
}

// publish writes entries one by one, without waiting between them.
func (w *writer) publish(ctx context.Context, entries []entry) (written, left []entry, err error) {
	acks := make([]jetstream.PubAckFuture, len(entries))
	for i, e := range entries {
		opts := []jetstream.PublishOpt{jetstream.WithRetryAttempts(0), jetstream.WithMsgID(e.id)}
		if e.id == "" {
			opts = opts[:1]
		}
		if acks[i], err = w.js.PublishAsync(e.subject, e.data, opts...); err != nil {
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
	w.batch++
	ack, err := batch.Batch{
		ID:   w.batches + strconv.FormatUint(w.batch, 36),
		Size: len(entries),
		Message: func(i int, m *nats.Msg) {
			m.Subject, m.Data = entries[i].subject, entries[i].data
			if entries[i].id != "" {
				m.Header.Set(jetstream.MsgIDHeader, entries[i].id)
			}
		},
	}.Publish(ctx, w.nc)
	if err != nil {
		return fmt.Errorf("commit %d entries: %w", len(entries), err)
	}
	return w.isOwn(ack.Stream)
}

// isOwn returns an error unless stream is the log's own.
func (w *writer) isOwn(stream string) error {
	if stream != w.log.stream {
		return fmt.Errorf("%w: %q stored the entries", ErrStream, stream)
	}
	return nil
}

// disconnected cancels the current try, since its answer is lost.
func (w *writer) disconnected(*nats.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abort != nil {
		w.abort()
	}
}
