package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
)

// Snapshots use JetStream's own API (https://docs.nats.io/reference/reference-protocols/nats_api_reference). A snapshot
// has a stream with its consumers, exact to sequences and times.

const (
	snapshotChunk  = 512 << 10        // bytes of one message; a NATS server accepts 1 MiB
	snapshotWindow = 8 << 20          // bytes in flight
	snapshotWait   = 30 * time.Second // for one message
	// restoreWait bounds the wait for a stream after all of it was sent.
	restoreWait = 10 * time.Minute
	// restoreTries bounds the tries to restore the log if a server recreates it meanwhile.
	restoreTries = 5
	// interestWait bounds the wait for a subscription to the subject of the pieces.
	interestWait  = 10 * time.Second
	interestEvery = 20 * time.Millisecond
)

const (
	consumersWait  = time.Minute
	consumersEvery = 100 * time.Millisecond
)

// snapshotState has the fields of a stream's state that imctl reads.
type snapshotState struct {
	Messages  uint64 `json:"messages"`
	Last      uint64 `json:"last_seq"`
	Consumers int    `json:"consumer_count"`
}

// streamSnapshot describes the stream of a snapshot. A restore returns both fields to JetStream unchanged.
type streamSnapshot struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

func (s *streamSnapshot) state() (state snapshotState, err error) {
	if err := json.Unmarshal(s.State, &state); err != nil {
		return state, errBackup
	}
	return state, nil
}

type apiError struct {
	Error *jetstream.APIError `json:"error"`
}

// askJetStream sends one request to the API.
func askJetStream(ctx context.Context, nc *nats.Conn, subject string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	m, err := nc.RequestWithContext(ctx, natsutil.API(nc)+subject, body)
	if err != nil {
		return err
	}
	return readAnswer(m.Data, answer)
}

func readAnswer(data []byte, answer any) error {
	var failed apiError
	if err := json.Unmarshal(data, &failed); err != nil {
		return err
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(data, answer)
}

// snapshotOptions are how a snapshot is taken. With check, a NATS server before 2.15 first checks all messages, and
// stores none meanwhile; newer ones check each that they read. If it is paced, NATS reads little ahead.
type snapshotOptions struct{ check, paced bool }

// takeSnapshot requests a snapshot. It calls begin with the description, and then take with each piece.
func takeSnapshot(ctx context.Context, nc *nats.Conn, stream string, o snapshotOptions, begin func(streamSnapshot) error, take func([]byte) error) error {
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	var s streamSnapshot
	request := map[string]any{"deliver_subject": sub.Subject, "chunk_size": snapshotChunk, "window_size": snapshotWindow, "jsck": o.check}
	if o.paced {
		request["chunk_size"], request["window_size"] = pacedChunk, pacedWindow
	}
	if err := askJetStream(ctx, nc, "STREAM.SNAPSHOT."+stream, request, &s); err != nil {
		return err
	}
	if err := begin(s); err != nil {
		return err
	}
	for {
		m, err := nextChunk(ctx, sub)
		if err != nil {
			return err
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("the snapshot was cut off: %s %s", status, m.Header.Get("Description"))
			}
			return nil
		}
		if err := take(m.Data); err != nil {
			return err
		}
		if m.Reply == "" {
			continue
		}
		if err := m.Respond(nil); err != nil {
			return err
		}
	}
}

func nextChunk(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// putSnapshot restores a stream that does not exist. next returns the pieces, and io.EOF after the last one.
func putSnapshot(ctx context.Context, nc *nats.Conn, stream string, s streamSnapshot, next func() ([]byte, error)) error {
	var answer struct {
		Deliver string `json:"deliver_subject"`
	}
	if err := askJetStream(ctx, nc, "STREAM.RESTORE."+stream, s, &answer); err != nil {
		return err
	}
	for {
		chunk, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		reply, err := sendPiece(ctx, nc, answer.Deliver, chunk, snapshotWait)
		if err == nil && len(reply) > 0 { // JetStream answers a piece only if it is wrong
			err = readAnswer(reply, new(apiError))
		}
		if err != nil {
			return err
		}
	}
	reply, err := sendPiece(ctx, nc, answer.Deliver, nil, restoreWait)
	if err != nil {
		return err
	}
	var got struct {
		State snapshotState `json:"state"`
	}
	if err := readAnswer(reply, &got); err != nil {
		return err
	}
	want, err := s.state()
	if err != nil {
		return err
	}
	if got.State.Last < want.Last {
		return fmt.Errorf("it ends with message %d instead of %d", got.State.Last, want.Last)
	}
	return awaitConsumers(ctx, nc, stream, want.Consumers)
}

// sendPiece sends one piece of a snapshot and returns the reply. In a cluster another server may take the pieces, and
// the answer that names its subject may arrive before its subscription. So sendPiece resends a piece that found no
// subscription.
func sendPiece(ctx context.Context, nc *nats.Conn, subject string, piece []byte, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for start := time.Now(); ; {
		m, err := nc.RequestWithContext(ctx, subject, piece)
		if err == nil {
			return m.Data, nil
		}
		if !errors.Is(err, nats.ErrNoResponders) || time.Since(start) > interestWait {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-time.After(interestEvery):
		}
	}
}

// awaitConsumers waits for the consumers of a restored stream. In a cluster they are assigned to servers, and elect
// leaders, after JetStream reports the end of the restore.
func awaitConsumers(ctx context.Context, nc *nats.Conn, stream string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, consumersWait)
	defer cancel()
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return err
	}
	tick := time.NewTicker(consumersEvery)
	defer tick.Stop()
	for {
		s, err := js.Stream(ctx, stream)
		if err == nil {
			cluster, ready := s.CachedInfo().Cluster, 0
			// A single server has no cluster or, with a connection to another as its leaf node, its own name for it.
			single := cluster == nil || cluster.Name == "" || cluster.Name == cluster.Leader
			for c := range s.ListConsumers(ctx).Info() {
				if single || c.Cluster != nil && c.Cluster.Leader != "" {
					ready++
				}
			}
			if ready >= n {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("its %d consumers are not restored: %w", n, errors.Join(context.Cause(ctx), err))
		case <-tick.C:
		}
	}
}

// deleteStream deletes a stream, if it exists.
func deleteStream(ctx context.Context, nc *nats.Conn, stream string) error {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return nil
}
