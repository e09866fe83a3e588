package embedded

import (
	"bytes"
	"encoding/binary"

	"github.com/nats-io/nats-server/v2/server/avl"
)

const (
	indexFile    = "index.db"
	indexMagic   = 11
	indexVersion = 4 // the newest that is known here; 1 is the oldest
)

// index is what nats-server writes down of a stream's blocks every few minutes and
// when it stops, in index.db.
type index struct {
	lastSeq  uint64
	blocks   []indexBlock
	last     uint32  // the block that was written to
	lastHash [8]byte // and the last bytes of it
}

type indexBlock struct {
	index uint32
	live  bool   // has messages, so that its file must be there
	bytes uint64 // of those messages
}

// parseIndex reads an index.db; false when it is damaged or of another version.
// That harms nobody: the server makes it anew from the blocks.
func parseIndex(b []byte, stream string) (*index, bool) {
	if len(b) < 32 {
		return nil, false
	}
	b, sum := b[:len(b)-recordHash], b[len(b)-recordHash:]
	h := newHash(stream)
	h.Write(b)
	if !bytes.Equal(h.Sum(nil), sum) {
		return nil, false
	}
	version := b[1]
	if b[0] != indexMagic || version < 1 || version > indexVersion {
		return nil, false
	}
	r := &varints{b: b[2:]}
	ix := new(index)
	r.skip(3) // messages, bytes, first sequence
	r.skip(1) // first time
	ix.lastSeq = r.uint()
	r.skip(1) // last time
	for n := r.count(); n > 0 && !r.bad; n-- {
		r.subject(version)
	}
	for n := r.count(); n > 0 && !r.bad; n-- {
		ix.blocks = append(ix.blocks, r.block(version))
	}
	ix.last = uint32(r.uint())
	if r.bad || len(r.b) < len(ix.lastHash) {
		return nil, false
	}
	copy(ix.lastHash[:], r.b)
	return ix, true
}

// varints reads numbers one after the other and remembers when it could not.
// Signed ones have the same length on the disk, so skip takes both.
type varints struct {
	b   []byte
	bad bool
}

func (r *varints) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many follow; each takes a byte at least.
func (r *varints) count() uint64 {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return n
}

func (r *varints) skip(n int) {
	for range n {
		r.uint()
	}
}

func (r *varints) subject(version byte) {
	n := r.count()
	if n == 0 {
		return // An empty subject has no numbers after it.
	}
	r.b = r.b[n:]
	total := r.uint()
	r.skip(1) // its first block
	if total > 1 || version >= 4 {
		r.skip(1) // its last block
	}
}

func (r *varints) block(version byte) indexBlock {
	b := indexBlock{index: uint32(r.uint()), bytes: r.uint()}
	first := r.uint()
	r.skip(1) // first time
	last := r.uint()
	r.skip(1) // last time
	deleted := r.uint()
	r.skip(min(int(version)-1, 2)) // messages with a TTL since version 2, with a schedule since 3
	b.live = last > 0 && last+1 > first+deleted
	if deleted > 0 && !r.bad {
		_, n, err := avl.Decode(r.b)
		if err != nil || n > len(r.b) {
			r.bad = true
			return b
		}
		r.b = r.b[n:]
	}
	return b
}
