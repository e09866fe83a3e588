package cmd

import (
	"context"
	"encoding/binary"
	"io"

	"golang.org/x/time/rate"
)

const (
	// backupRate is the bytes of a scheduled backup that are read in a second, before compression, so that dialogues have
	// the processor and the disk: NATS reads and compresses them, and the verification decompresses them. What is stored
	// counts storedCost times, for data that cannot be compressed. backupBurst are read at once.
	backupRate  = 16 << 20
	storedCost  = 2
	backupBurst = 1 << 20
	// maxPieceCost bounds the time before the next piece of a snapshot: NATS ends one if no piece is acknowledged for 5 s.
	maxPieceCost = 2 * backupRate

	// The pieces of a paced snapshot, and how many bytes of it NATS reads ahead.
	pacedChunk  = 128 << 10
	pacedWindow = 512 << 10
)

// backupPace limits how fast a backup is read. nil sets no limit.
type backupPace struct{ limit *rate.Limiter }

func newBackupPace() *backupPace { return &backupPace{rate.NewLimiter(backupRate, backupBurst)} }

// wait waits until stored bytes may be read, which are raw bytes before compression. It returns early with the error of
// ctx.
func (p *backupPace) wait(ctx context.Context, stored, raw int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p == nil {
		return nil
	}
	for n := min(max(storedCost*stored, raw), maxPieceCost); n > 0; {
		part := min(n, p.limit.Burst())
		if err := p.limit.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// syncEvery is how many bytes of a paced backup are written before they are synced to disk.
const syncEvery = 2 << 20

// syncedWriter writes a file, and syncs it to disk again and again: otherwise the one sync at the end would keep the disk
// from the syncs of dialogues.
type syncedWriter struct {
	file interface {
		io.Writer
		Sync() error
	}
	dirty int // bytes since the last sync
}

func (w *syncedWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if w.dirty += n; err == nil && w.dirty >= syncEvery {
		w.dirty, err = 0, w.file.Sync()
	}
	return n, err
}

// rawSize counts the bytes of a snapshot before its compression, from the headers of its S2 chunks
// (https://github.com/google/snappy/blob/main/framing_format.txt). The zero value is at the begin of a snapshot.
type rawSize struct {
	head []byte // of the present chunk, as far as it is needed
	skip int    // bytes of the present chunk that are to come
}

const (
	s2Compressed   = 0x00
	s2Uncompressed = 0x01
	s2ChunkHead    = 4 // type, and length in 3 bytes
	s2Checksum     = 4
	s2MaxHead      = s2ChunkHead + s2Checksum + binary.MaxVarintLen32
)

// add returns the raw bytes of the chunks that begin in the next piece of the snapshot. In something else than a
// snapshot the number has no meaning.
func (r *rawSize) add(piece []byte) (raw int) {
	for len(piece) > 0 {
		if n := min(r.skip, len(piece)); n > 0 {
			r.skip -= n
			piece = piece[n:]
			continue
		}
		r.head = append(r.head, piece[0])
		piece = piece[1:]
		if len(r.head) < s2ChunkHead {
			continue
		}
		length := int(r.head[1]) | int(r.head[2])<<8 | int(r.head[3])<<16
		read := len(r.head) - s2ChunkHead // of the contents
		switch {
		case r.head[0] == s2Uncompressed:
			raw += max(0, length-s2Checksum)
		case r.head[0] == s2Compressed && read < length && len(r.head) < s2MaxHead:
			if read <= s2Checksum || r.head[len(r.head)-1] >= 0x80 {
				continue // the size follows the checksum
			}
			size, _ := binary.Uvarint(r.head[s2ChunkHead+s2Checksum:])
			raw += int(min(size, maxPieceCost))
		}
		r.head, r.skip = r.head[:0], length-read
	}
	return raw
}
