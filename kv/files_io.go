package kv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
)

const (
	// chunksInFlight is how many chunks of one upload wait for their acknowledgements.
	chunksInFlight = 4
	// chunkTimeout bounds the wait for the acknowledgement of a chunk.
	chunkTimeout = 20 * time.Second
	// codeMaxBytes is JetStream's error code for a message that does not fit into a full stream.
	codeMaxBytes jetstream.ErrorCode = 10077
	// removeTimeout bounds the removal of what an upload that failed has stored.
	removeTimeout = 10 * time.Second
)

// Put stores a file of From and To, and sets ID, Size and At. It reads the bytes up to the end of r. After an error, of
// r too, it removes what it has stored.
//
// Errors: ErrFilesFull, ErrReadOnly, and those of r.
func (f *Files) Put(ctx context.Context, file *File, r io.Reader) (err error) {
	var name [fileName / 2]byte
	if _, err := rand.Read(name[:]); err != nil {
		return err
	}
	k := fileKey{from: file.From, to: file.To, name: hex.EncodeToString(name[:])}
	if !ValidID(k.from) || !ValidID(k.to) || k.from == k.to {
		return fmt.Errorf("kv: store a file: %w", ErrUserNotFound)
	}
	js, err := natsutil.JetStream(f.b.nc, jetstream.WithPublishAsyncTimeout(chunkTimeout))
	if err != nil {
		return fmt.Errorf("kv: store a file: %w", err)
	}
	defer js.CleanupPublisher() // after drain, which waits for acknowledgements
	w := fileWriter{f: f, js: js, subject: f.b.prefix() + k.of(fileData)}
	defer func() {
		if err == nil || !w.began {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		w.drain(ctx)
		if left := f.remove(ctx, k); left != nil {
			f.log.Debug("remove the parts of a file; the next sweep does", "err", left)
		}
	}()
	if k.size, err = w.copy(ctx, r); err != nil {
		return err
	}
	file.ID, file.Size = k.id(), k.size
	if err := f.describe(ctx, k, *file, w.chunks); err != nil {
		return err
	}
	file.At, file.chunks = time.Now().UTC(), w.chunks
	return nil
}

// describe writes the description of a file.
func (f *Files) describe(ctx context.Context, k fileKey, file File, chunks []uint64) error {
	s := storedFile{File: file, Steps: make([]uint64, len(chunks))}
	before := uint64(0)
	for i, seq := range chunks {
		s.Steps[i], before = seq-before, seq
	}
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return f.write(ctx, k.of(fileMeta), value)
}

// write writes a key that has no message.
func (f *Files) write(ctx context.Context, key string, value []byte) error {
	if err := f.b.writable(); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	m := &nats.Msg{Subject: f.b.prefix() + key, Data: value, Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.Itoa(0))
	if _, err := f.b.js.PublishMsg(ctx, m); err != nil {
		return f.writeError(err)
	}
	return nil
}

func (f *Files) writeError(err error) error {
	if hasCode(err, codeMaxBytes) {
		return fmt.Errorf("kv: store a file: %w: %w", ErrFilesFull, err)
	}
	return fmt.Errorf("kv: store a file: %w", err)
}

// fileWriter stores the chunks of one file.
type fileWriter struct {
	f       *Files
	js      jetstream.JetStream // its acknowledgements are those of this file
	subject string
	began   bool // a chunk was sent
	acks    []jetstream.PubAckFuture
	chunks  []uint64
}

// copy stores all bytes of r, and returns how many there are.
func (w *fileWriter) copy(ctx context.Context, r io.Reader) (size int64, err error) {
	for {
		chunk := make([]byte, FileChunk) // the client keeps it until it is acknowledged
		n, err := io.ReadFull(r, chunk)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return size, err
		}
		if n > 0 {
			if err := w.f.b.writable(); err != nil {
				return size, err
			}
			w.began = true
			ack, err := w.js.PublishMsgAsync(&nats.Msg{Subject: w.subject, Data: chunk[:n]})
			if err != nil {
				return size, w.f.writeError(err)
			}
			w.acks = append(w.acks, ack)
			size += int64(n)
		}
		for len(w.acks) >= chunksInFlight || last && len(w.acks) > 0 {
			if err := w.await(ctx); err != nil {
				return size, err
			}
		}
		if last {
			return size, nil
		}
	}
}

// await waits for the acknowledgement of the oldest chunk.
func (w *fileWriter) await(ctx context.Context) error {
	select {
	case a := <-w.acks[0].Ok():
		w.acks = w.acks[1:]
		if n := len(w.chunks); n > 0 && a.Sequence <= w.chunks[n-1] {
			return fmt.Errorf("kv: store a file: chunk %d is stored before the one ahead of it", n)
		}
		w.chunks = append(w.chunks, a.Sequence)
		return nil
	case err := <-w.acks[0].Err():
		w.acks = w.acks[1:]
		return w.f.writeError(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain waits until no chunk is under way, so that none is stored after the removal.
func (w *fileWriter) drain(ctx context.Context) {
	for _, ack := range w.acks {
		select {
		case <-ack.Ok():
		case <-ack.Err():
		case <-ctx.Done():
			return
		}
	}
}

// Open returns a reader of a file. It reads the chunks that it needs, one at a time.
func (f *Files) Open(ctx context.Context, file *File) io.ReadSeeker {
	return &fileReader{ctx: ctx, f: f, file: file, at: -1}
}

// fileReader implements io.ReadSeeker.
type fileReader struct {
	ctx    context.Context
	f      *Files
	file   *File
	offset int64
	at     int    // index of the chunk that is read; -1: none
	chunk  []byte // that chunk
}

func (r *fileReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.file.Size
	}
	if offset < 0 {
		return 0, errors.New("kv: read a file: the offset is before its beginning")
	}
	r.offset = offset
	return offset, nil
}

func (r *fileReader) Read(p []byte) (int, error) {
	if r.offset >= r.file.Size {
		return 0, io.EOF
	}
	if at := int(r.offset / FileChunk); at != r.at {
		chunk, err := r.f.chunk(r.ctx, r.file, at)
		if err != nil {
			return 0, err
		}
		r.at, r.chunk = at, chunk
	}
	n := copy(p, r.chunk[r.offset%FileChunk:])
	r.offset += int64(n)
	return n, nil
}

// chunk reads a chunk of a file. Errors: ErrNoFile if it was removed.
func (f *Files) chunk(ctx context.Context, file *File, at int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	k, _ := parseFileID(file.ID)
	seq := file.chunks[at]
	e, err := f.b.getDirect(ctx, f.b.directAPI(), fmt.Appendf(nil, `{"seq":%d}`, seq))
	if errors.Is(err, errKeyNotFound) && f.b.replicated() { // the replica may lag
		e, err = f.b.requestLeader(ctx, map[string]any{"seq": seq})
		e.key = k.of(fileData)
	}
	if errors.Is(err, errKeyNotFound) {
		return nil, ErrNoFile
	}
	if err != nil {
		return nil, fmt.Errorf("kv: read a file: %w", err)
	}
	if want := min(FileChunk, file.Size-int64(at)*FileChunk); e.key != k.of(fileData) || int64(len(e.value)) != want {
		return nil, fmt.Errorf("kv: message %d of %s is not chunk %d of its file", seq, f.b.stream(), at)
	}
	return e.value, nil
}
