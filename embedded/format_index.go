package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server/avl"
)

// The index of a stream's message blocks, index.db (nats-server, server/filestore.go, _writeFullState and
// recoverFullState). nats-server writes it every few minutes and when it stops:
//
//	magic number, version               1 byte each
//	messages, bytes, first sequence, first time, last sequence, last time
//	number of subjects, subjects        see blockIndexReader.skipSubject
//	number of blocks, blocks            see blockIndexReader.block
//	index of the last block
//	last checksum in the last block     8 bytes
//	checksum of all of the above        8 bytes
//
// Numbers are varints unless a size is given.
const (
	indexName       = "index.db"
	indexMagic      = 11
	indexMinVersion = 1
	indexMaxVersion = 4
	indexMinSize    = 32
)

// blockIndex is the part of an index that the data check needs.
type blockIndex struct {
	lastSeq      uint64
	blocks       []indexedBlock
	lastBlock    uint32 // the block that the NATS server wrote to
	lastChecksum checksum
}

// indexedBlock is a block as the index describes it.
type indexedBlock struct {
	index uint32
	inUse bool   // The block has messages, so its file must exist.
	bytes uint64 // size of the messages
}

// readIndex returns the index of the stream, nil if there is none or it can't be used. A missing or damaged index is
// not damage: nats-server makes a new one from the blocks.
func (s streamDir) readIndex() (*blockIndex, error) {
	b, err := os.ReadFile(filepath.Join(s.messages(), indexName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", s.stream, err)
	}
	return parseIndex(b, s.stream), nil
}

// parseIndex parses an index.db. It returns nil if the index is damaged or has another version.
func parseIndex(b []byte, stream string) *blockIndex {
	if len(b) < indexMinSize {
		return nil
	}
	b, sum := b[:len(b)-checksumSize], b[len(b)-checksumSize:]
	h := newChecksum(stream)
	h.Write(b)
	if !bytes.Equal(h.Sum(nil), sum) {
		return nil
	}
	version := b[1]
	if b[0] != indexMagic || version < indexMinVersion || version > indexMaxVersion {
		return nil
	}
	r := &blockIndexReader{b: b[2:], version: version}
	ix := new(blockIndex)
	r.skip(3) // messages, bytes, first sequence
	r.skip(1) // first time
	ix.lastSeq = r.uint()
	r.skip(1) // last time
	for n := r.count(); n > 0 && !r.bad; n-- {
		r.skipSubject()
	}
	for n := r.count(); n > 0 && !r.bad; n-- {
		ix.blocks = append(ix.blocks, r.block())
	}
	ix.lastBlock = uint32(r.uint())
	if r.bad || len(r.b) < checksumSize {
		return nil
	}
	copy(ix.lastChecksum[:], r.b)
	return ix
}

// describes reports whether the index describes all blocks: nothing was written after it. last is the last block.
func (ix *blockIndex) describes(last blockFile) (bool, error) {
	if last.index != ix.lastBlock {
		return false, nil
	}
	sum, err := last.lastChecksum()
	return sum == ix.lastChecksum, err
}

// blockIndexReader reads numbers from b. bad becomes true when it can't read one. Signed numbers have the same length
// as unsigned ones, so skip skips both.
type blockIndexReader struct {
	b       []byte
	version byte
	bad     bool
}

func (r *blockIndexReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the number of the items that follow. Each takes at least one byte.
func (r *blockIndexReader) count() uint64 {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return n
}

func (r *blockIndexReader) skip(n int) {
	for range n {
		r.uint()
	}
}

func (r *blockIndexReader) skipSubject() {
	n := r.count()
	if n == 0 {
		return // No numbers follow an empty subject.
	}
	r.b = r.b[n:]
	messages := r.uint()
	r.skip(1) // first block
	if messages > 1 || r.version >= 4 {
		r.skip(1) // last block
	}
}

func (r *blockIndexReader) block() indexedBlock {
	b := indexedBlock{index: uint32(r.uint()), bytes: r.uint()}
	first := r.uint()
	r.skip(1) // first time
	last := r.uint()
	r.skip(1) // last time
	deleted := r.uint()
	r.skip(min(int(r.version)-1, 2)) // messages with a TTL since version 2, with a schedule since version 3
	b.inUse = last > 0 && last+1 > first+deleted
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
