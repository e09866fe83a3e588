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
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// The streams of the log and of the conversations keep their names: programs use the log, and the records of a
// conversation point to each other by their sequence numbers. So a restore stages the pieces of their snapshots in other
// streams. The swap restores the two streams from these pieces, with all their consumers. Entries of the log that a
// consumer has not acknowledged are restored with their sequence numbers, and acknowledged entries are not delivered
// again. The pieces survive an interrupted swap.

// The server must write each piece within five seconds. A piece that takes longer than slowPiece halves the next one.
const (
	pieceSize     = 16 << 10 // uncompressed bytes of a piece
	smallestPiece = 1 << 10
	slowPiece     = time.Second
)

// logStream returns the name of the stream of the log.
func logStream(prefix string) string { return subject.Prefix(prefix).LogStream() }

// keptStream is a stream that keeps its name in a restore.
type keptStream struct {
	what    string // for messages
	name    string
	staged  string // name of the stream in which a restore stages it
	subject string // of that stream
}

func keptLog(prefix string) keptStream {
	p := subject.Prefix(prefix)
	return keptStream{"the log", p.LogStream(), p.LogRestoreStream(), p.LogRestore()}
}

func keptTalks(prefix string) keptStream {
	p := subject.Prefix(prefix)
	return keptStream{"the conversations", p.TalkStream(), p.TalkRestoreStream(), p.TalkRestore()}
}

func keptFiles(prefix string) keptStream {
	p := subject.Prefix(prefix)
	return keptStream{"the files", p.FileStream(), p.FileRestoreStream(), p.FileRestore()}
}

// stagedHead is the first message of a staged stream. The pieces of the snapshot follow.
type stagedHead struct {
	streamSnapshot
	Empty bool `json:"empty,omitempty"` // the backup has no such stream, and Config is the configuration of the one in use
}

// stageKept copies a stream from one NATS server to a staging stream on another.
func (r *restorer) stageKept(ctx context.Context, from, to *nats.Conn, kept keptStream) error {
	c := r.config.NATS
	js, err := natsutil.JetStream(to)
	if err != nil {
		return err
	}
	if err := deleteStream(ctx, to, kept.staged); err != nil {
		return err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: kept.staged, Subjects: []string{kept.subject}, Storage: jetstream.FileStorage,
		Replicas: c.replicas(), Description: "staged by a restore: " + kept.what})
	if err != nil {
		return err
	}
	w := stageWriter{ctx: ctx, js: js, config: c, kept: kept, sum: sha256.New(), progress: r.progress}
	if w.inUse, err = w.configInUse(); err != nil {
		return err
	}
	err = takeSnapshot(ctx, from, kept.name, snapshotOptions{check: true}, w.begin, w.add)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = w.addEmpty()
	}
	if err == nil {
		err = w.check(stream)
	}
	return err
}

// stageWriter writes a staged stream.
type stageWriter struct {
	ctx      context.Context
	js       jetstream.JetStream
	config   NATSConfig
	kept     keptStream
	inUse    *jetstream.StreamConfig // of the stream in use, nil if there is none
	sum      hash.Hash
	count    uint64
	bytes    int64
	progress *progressLine
}

// configInUse returns the configuration of the stream in use, nil if there is none.
func (w *stageWriter) configInUse() (*jetstream.StreamConfig, error) {
	s, err := w.js.Stream(w.ctx, w.kept.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &s.CachedInfo().Config, nil
}

func (w *stageWriter) add(data []byte) error {
	w.count++
	w.bytes += int64(len(data))
	w.progress.update("%s: %s", w.kept.what, Size(w.bytes))
	addSum(w.sum, "", data)
	_, err := w.js.Publish(w.ctx, w.kept.subject, data, jetstream.WithExpectStream(w.kept.staged),
		jetstream.WithExpectLastSequence(w.count-1))
	return err
}

func (w *stageWriter) addHead(h stagedHead) error {
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return w.add(body)
}

// begin stores the head of the staged stream. The stream takes the size limit of the one in use: NATS may have no room
// for more.
func (w *stageWriter) begin(s streamSnapshot) (err error) {
	if s.Config, err = withReplicas(w.kept.name, w.config, s.Config); err != nil {
		return err
	}
	if w.inUse != nil {
		if s.Config, err = withMaxBytes(s.Config, w.inUse.MaxBytes); err != nil {
			return err
		}
	}
	return w.addHead(stagedHead{streamSnapshot: s})
}

// withMaxBytes returns the configuration of a stream with a size limit.
func withMaxBytes(config json.RawMessage, limit int64) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, errBackup
	}
	fields["max_bytes"] = json.RawMessage(fmt.Sprint(limit))
	return json.Marshal(fields)
}

// addEmpty stages an empty stream with the configuration of the one in use, for a backup without that stream.
func (w *stageWriter) addEmpty() (err error) {
	h := stagedHead{Empty: true}
	if w.inUse != nil {
		if h.Config, err = json.Marshal(w.inUse); err != nil {
			return err
		}
	}
	return w.addHead(h)
}

// check reads the staged stream and compares its checksum with that of the written pieces.
func (w *stageWriter) check(s jetstream.Stream) error {
	sum := sha256.New()
	for seq := uint64(1); seq <= w.count; seq++ {
		m, err := s.GetMsg(w.ctx, seq)
		if err != nil {
			return err
		}
		addSum(sum, "", m.Data)
	}
	if !bytes.Equal(sum.Sum(nil), w.sum.Sum(nil)) {
		return fmt.Errorf("the staged stream differs from stream %s of the backup", w.kept.name)
	}
	return nil
}

// swapKept replaces a stream in use with the staged one. A server may recreate the stream while it is missing. swapKept
// then retries.
func swapKept(ctx context.Context, nc *nats.Conn, kept keptStream) error {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, kept.staged)
	if err != nil {
		return fmt.Errorf("staged stream %s: %w", kept.staged, err)
	}
	for try := 1; ; try++ {
		err := restoreKept(ctx, nc, js, stream, kept.name)
		var refused *jetstream.APIError
		if err == nil || try == restoreTries || !errors.As(err, &refused) || refused.ErrorCode != streamExists {
			return err
		}
	}
}

// streamExists is JetStream's error code for a restore of an existing stream. The client library has no name for it.
const streamExists jetstream.ErrorCode = 10130

// restoreKept deletes the stream name and restores it from the staged stream.
func restoreKept(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, staged jetstream.Stream, name string) error {
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
			return nil // a server creates it when it starts
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
	buf  []byte    // of the size of a piece
	at   time.Time // when next returned the last piece
}

func newRecompressor(compressed io.Reader) *recompressor {
	p := &recompressor{from: s2.NewReader(compressed), buf: make([]byte, pieceSize)}
	p.to = s2.NewWriter(&p.out, s2.WriterBlockSize(pieceSize), s2.WriterConcurrency(1))
	return p
}

// taken sets the size of the next piece after the time that the last one took.
func (p *recompressor) taken(d time.Duration) {
	if d > slowPiece {
		p.buf = p.buf[:max(len(p.buf)/2, smallestPiece)]
	}
}

// next returns the next piece, or io.EOF after the last one. The caller has sent the last piece.
func (p *recompressor) next() ([]byte, error) {
	if !p.at.IsZero() {
		p.taken(time.Since(p.at))
	}
	defer func() { p.at = time.Now() }()
	n, err := io.ReadFull(p.from, p.buf)
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
