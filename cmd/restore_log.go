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

	"imctl/bridge/subject"
)

// The stream of the log keeps its name, since programs use it. So a restore stages the pieces of the log's snapshot in
// another stream. The swap restores the log from these pieces, with all its consumers. Entries that a consumer has not
// acknowledged are restored with their sequence numbers, and acknowledged entries are not delivered again. The pieces
// survive an interrupted swap.

// logPieceSize is how many uncompressed bytes of the log are sent at once. The server must write them within five
// seconds.
const logPieceSize = 16 << 10

// logStream returns the name of the stream of the log.
func logStream(prefix string) string { return subject.Prefix(prefix).LogStream() }

// stagedLog returns the name of the stream in which the log is staged.
func stagedLog(prefix string) string { return subject.Prefix(prefix).LogRestoreStream() }

// stagedLogSubject returns the subject of that stream.
func stagedLogSubject(prefix string) string { return subject.Prefix(prefix).LogRestore() }

// stagedHead is the first message of the staged log. The pieces of the snapshot follow.
type stagedHead struct {
	streamSnapshot
	Empty bool `json:"empty,omitempty"` // the backup has no log, and Config is the configuration of the log in use
}

// stageLog copies the log from one NATS server to a staging stream on another. It returns the name of that stream.
func (r *restorer) stageLog(ctx context.Context, from, to *nats.Conn) (string, error) {
	c := r.config.NATS
	js, err := jetstream.New(to)
	if err != nil {
		return "", err
	}
	name := stagedLog(c.Prefix)
	if err := deleteStream(ctx, to, name); err != nil {
		return "", err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{stagedLogSubject(c.Prefix)}, Storage: jetstream.FileStorage,
		Replicas: c.Replicas, Description: "staged log of a restore"})
	if err != nil {
		return "", err
	}
	w := stagedLogWriter{ctx: ctx, js: js, config: c, sum: sha256.New(), progress: r.progress}
	err = takeSnapshot(ctx, from, logStream(c.Prefix), w.begin, w.add)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = w.addEmpty()
	}
	if err == nil {
		err = w.check(stream)
	}
	return name, err
}

// stagedLogWriter writes the staged log.
type stagedLogWriter struct {
	ctx      context.Context
	js       jetstream.JetStream
	config   NATSConfig
	sum      hash.Hash
	count    uint64
	bytes    int64
	progress *progressLine
}

func (w *stagedLogWriter) add(data []byte) error {
	w.count++
	w.bytes += int64(len(data))
	w.progress.update("the log: %s", Size(w.bytes))
	addSum(w.sum, "", data)
	_, err := w.js.Publish(w.ctx, stagedLogSubject(w.config.Prefix), data, jetstream.WithExpectStream(stagedLog(w.config.Prefix)),
		jetstream.WithExpectLastSequence(w.count-1))
	return err
}

func (w *stagedLogWriter) addHead(h stagedHead) error {
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return w.add(body)
}

// begin stores the head of the staged log.
func (w *stagedLogWriter) begin(s streamSnapshot) (err error) {
	if s.Config, err = withReplicas(logStream(w.config.Prefix), w.config, s.Config); err != nil {
		return err
	}
	return w.addHead(stagedHead{streamSnapshot: s})
}

// addEmpty stages an empty log with the configuration of the log in use, for a backup without a log.
func (w *stagedLogWriter) addEmpty() error {
	h := stagedHead{Empty: true}
	inUse, err := w.js.Stream(w.ctx, logStream(w.config.Prefix))
	if err == nil {
		h.Config, err = json.Marshal(inUse.CachedInfo().Config)
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return w.addHead(h)
}

// check reads the staged log and compares its checksum with that of the written pieces.
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
		return errors.New("the staged log differs from the log of the backup")
	}
	return nil
}

// swapLog replaces the log in use with the staged log. A server may recreate the stream of the log while it is missing.
// swapLog then retries.
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
		err := restoreLog(ctx, nc, js, stream, logStream(prefix))
		var refused *jetstream.APIError
		if err == nil || try == restoreTries || !errors.As(err, &refused) || refused.ErrorCode != streamExists {
			return err
		}
	}
}

// streamExists is JetStream's error code for a restore of an existing stream. The client library has no name for it.
const streamExists jetstream.ErrorCode = 10130

// restoreLog deletes the stream name and restores it from the staged log.
func restoreLog(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, staged jetstream.Stream, name string) error {
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
			return nil // a server creates the log when it starts
		}
		if err := json.Unmarshal(head.Config, &config); err != nil {
			return err
		}
		_, err := js.CreateStream(ctx, config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // a server has created it
			err = nil
		}
		return err
	}
	pieces := newRecompressor(&stagedReader{ctx: ctx, stream: staged, seq: 1, last: staged.CachedInfo().State.LastSeq})
	return putSnapshot(ctx, nc, name, head.streamSnapshot, pieces.next)
}

// stagedReader reads the concatenated pieces of the snapshot.
type stagedReader struct {
	ctx       context.Context
	stream    jetstream.Stream
	seq, last uint64 // sequence numbers of the current and of the last message
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

// recompressor recompresses a snapshot in small blocks. The server writes a block message by message, may sync each
// message to disk, and fails the restore if a piece takes more than five seconds. A block that JetStream has compressed
// may have thousands of messages.
type recompressor struct {
	from io.Reader // uncompressed
	to   *s2.Writer
	out  bytes.Buffer
	buf  [logPieceSize]byte
}

func newRecompressor(compressed io.Reader) *recompressor {
	p := &recompressor{from: s2.NewReader(compressed)}
	p.to = s2.NewWriter(&p.out, s2.WriterBlockSize(logPieceSize), s2.WriterConcurrency(1))
	return p
}

// next returns the next piece, or io.EOF after the last one.
func (p *recompressor) next() ([]byte, error) {
	n, err := io.ReadFull(p.from, p.buf[:])
	if n == 0 {
		return nil, err
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	p.out.Reset()
	if _, err := p.to.Write(p.buf[:n]); err != nil {
		return nil, err
	}
	if err := p.to.Flush(); err != nil {
		return nil, err
	}
	return bytes.Clone(p.out.Bytes()), nil
}
