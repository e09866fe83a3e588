package cmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// The log's stream keeps its name, since programs know it by that name. So a restore stages the log's snapshot, piece by
// piece, in another stream. The swap restores the log from these pieces, with all its consumers. Entries that a consumer
// had not acknowledged are there again, under the same sequence numbers; acknowledged entries are not delivered again.
// After an interrupted swap the pieces are still there.

// logPiece is how many uncompressed bytes of the log are sent at once. The server must write them within five seconds.
const logPiece = 16 << 10

// logStream returns the name of the log's stream.
func logStream(prefix string) string { return kv.LogStream(prefix) }

// stagedLog returns the name of the stream in which the log is staged. logPieces returns its subject.
func stagedLog(prefix string) string { return logStream(prefix) + "_RESTORE" }
func logPieces(prefix string) string { return prefix + ".restore.log" }

// stagedHead is the first message of the staged log. The snapshot's pieces follow.
type stagedHead struct {
	streamSnapshot
	Empty bool `json:"empty,omitempty"` // the backup has no log; Config is that of the log in use
}

// stageLog stages the log of from, and returns the name of the staging stream on to.
func (r *restoring) stageLog(ctx context.Context, from, to *nats.Conn) (string, error) {
	c := r.config.NATS
	js, err := jetstream.New(to)
	if err != nil {
		return "", err
	}
	name := stagedLog(c.Prefix)
	if err := deleteStream(ctx, to, name); err != nil {
		return "", err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{logPieces(c.Prefix)}, Storage: jetstream.FileStorage,
		Replicas: c.Replicas, Description: "staged log of a restore"})
	if err != nil {
		return "", err
	}
	w := stagedLogWriter{ctx: ctx, js: js, config: c, sum: sha256.New(), say: r.progress.say}
	err = takeSnapshot(ctx, from, logStream(c.Prefix), w.begin, w.add)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = w.none()
	}
	if err == nil {
		err = w.check(stream)
	}
	return name, err
}

// stagedLogWriter writes the staged log.
type stagedLogWriter struct {
	ctx    context.Context
	js     jetstream.JetStream
	config NATSConfig
	sum    hash.Hash
	count  uint64
	bytes  int64
	say    func(format string, args ...any)
}

func (w *stagedLogWriter) add(data []byte) error {
	w.count++
	w.bytes += int64(len(data))
	w.say("the log: %s", Size(w.bytes))
	addSum(w.sum, "", data)
	_, err := w.js.Publish(w.ctx, logPieces(w.config.Prefix), data, jetstream.WithExpectStream(stagedLog(w.config.Prefix)),
		jetstream.WithExpectLastSequence(w.count-1))
	return err
}

func (w *stagedLogWriter) head(h stagedHead) error {
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return w.add(body)
}

// begin stores the head of the staged log.
func (w *stagedLogWriter) begin(s streamSnapshot) (err error) {
	if s.Config, err = forReplicas(logStream(w.config.Prefix), w.config, s.Config); err != nil {
		return err
	}
	return w.head(stagedHead{streamSnapshot: s})
}

// none stages an empty log with the configuration of the log in use, for a backup without a log.
func (w *stagedLogWriter) none() error {
	h := stagedHead{Empty: true}
	inUse, err := w.js.Stream(w.ctx, logStream(w.config.Prefix))
	if err == nil {
		h.Config, err = json.Marshal(inUse.CachedInfo().Config)
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return w.head(h)
}

// check reads the staged log and compares it with the backup.
func (w *stagedLogWriter) check(s jetstream.Stream) error {
	sum := sha256.New()
	for seq := uint64(1); seq <= w.count; seq++ {
		m, err := s.GetMsg(w.ctx, seq)
		if err != nil {
			return err
		}
		addSum(sum, "", m.Data)
	}
	if !bytes.Equal(sum.Sum(nil), w.sum.Sum(nil)) {
		return errors.New("the staged log differs from the backup's")
	}
	return nil
}

// swapLog replaces the log in use with the staged log. A server may make the log's stream anew while it is missing. swapLog
// then retries.
func swapLog(ctx context.Context, nc *nats.Conn, prefix, staged string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, staged)
	if err != nil {
		return fmt.Errorf("staged log %s: %w", staged, err)
	}
	for try := 1; ; try++ {
		err := placeLog(ctx, nc, js, stream, logStream(prefix))
		var refused *jetstream.APIError
		if err == nil || try == restoreTries || !errors.As(err, &refused) || refused.ErrorCode != streamExists {
			return err
		}
	}
}

// streamExists is JetStream's error code for a restore of an existing stream. The client library has no name for it.
const streamExists jetstream.ErrorCode = 10130

func placeLog(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, staged jetstream.Stream, name string) error {
	var head stagedHead
	first, err := staged.GetMsg(ctx, 1)
	if err == nil {
		err = json.Unmarshal(first.Data, &head)
	}
	if err != nil {
		return err
	}
	if err := deleteStream(ctx, nc, name); err != nil {
		return err
	}
	if head.Empty {
		var config jetstream.StreamConfig
		if len(head.Config) == 0 || string(head.Config) == "null" {
			return nil // a server makes the log when it starts
		}
		if err := json.Unmarshal(head.Config, &config); err != nil {
			return err
		}
		_, err := js.CreateStream(ctx, config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // a server has made it
			err = nil
		}
		return err
	}
	pieces := newSmallPieces(&stagedReader{ctx: ctx, stream: staged, seq: 1, last: staged.CachedInfo().State.LastSeq})
	return putSnapshot(ctx, nc, name, head.streamSnapshot, pieces.next)
}

// stagedReader reads the concatenated pieces of the snapshot.
type stagedReader struct {
	ctx       context.Context
	stream    jetstream.Stream
	seq, last uint64 // sequences of the message that was read, and of the last message
	rest      []byte
}

func (r *stagedReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.seq == r.last {
			return 0, io.EOF
		}
		r.seq++
		m, err := r.stream.GetMsg(r.ctx, r.seq)
		if err != nil {
			return 0, err
		}
		r.rest = m.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// smallPieces recompresses a snapshot in small blocks. The server writes a block message by message, may force each to
// the disk, and fails the restore if a piece takes more than five seconds. A block that JetStream has compressed may have
// thousands of messages.
type smallPieces struct {
	from io.Reader // not compressed
	to   *s2.Writer
	out  bytes.Buffer
	room [logPiece]byte
}

func newSmallPieces(compressed io.Reader) *smallPieces {
	p := &smallPieces{from: s2.NewReader(compressed)}
	p.to = s2.NewWriter(&p.out, s2.WriterBlockSize(logPiece), s2.WriterConcurrency(1))
	return p
}

// next returns the next piece, or io.EOF after the last one.
func (p *smallPieces) next() ([]byte, error) {
	n, err := io.ReadFull(p.from, p.room[:])
	if n == 0 {
		return nil, err
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	p.out.Reset()
	if _, err := p.to.Write(p.room[:n]); err != nil {
		return nil, err
	}
	if err := p.to.Flush(); err != nil {
		return nil, err
	}
	return bytes.Clone(p.out.Bytes()), nil
}
