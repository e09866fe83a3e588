package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A message block, <number>.blk, is a sequence of records (nats-server, server/filestore.go, writeMsgRecordLocked and
// rebuildStateFromBufLocked). All numbers are little endian:
//
//	record length; top bit: has headers   uint32
//	sequence; top bits: see below         uint64
//	time                                  int64
//	subject length                        uint16
//	subject, [headers length uint32, headers], message
//	checksum of all but the lengths       8 bytes
const (
	blockSuffix = ".blk"

	recordHead    = 22
	recordMaxSize = 32 << 20

	headersBit   = 1 << 31
	erasedBit    = 1 << 63 // an erased message
	tombstoneBit = 1 << 62 // a tombstone: the message of this sequence was deleted

	// pageSize is the smallest part of a file that a disk loses if the power fails during several writes. The lost
	// part reads as zeros.
	pageSize = 512
)

// blockFile is the file of a message block.
type blockFile struct {
	index uint32 // The NATS server writes to the block with the highest index.
	path  string
	size  int64
}

// blockScan is the result of reading a message block.
type blockScan struct {
	size    int64
	lastSeq uint64 // the highest sequence in the block

	badAt      int64 // offset of the first bad record, -1 if there is none
	validAfter bool  // a valid record follows the bad one
	zeroPage   bool  // the bad part includes a page of zeros
}

// blocks returns the message blocks of the stream in the order of their indexes.
func (s streamDir) blocks() ([]blockFile, error) {
	entries, err := readDir(s.messages())
	if err != nil {
		return nil, err
	}
	var blocks []blockFile
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), blockSuffix)
		index, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", s.stream, err)
		}
		blocks = append(blocks, blockFile{uint32(index), filepath.Join(s.messages(), e.Name()), info.Size()})
	}
	slices.SortFunc(blocks, func(a, b blockFile) int { return int(int64(a.index) - int64(b.index)) })
	return blocks, nil
}

// blockPath returns the path of a block that may not exist.
func (s streamDir) blockPath(index uint32) string {
	return filepath.Join(s.messages(), strconv.FormatUint(uint64(index), 10)+blockSuffix)
}

// lastChecksum returns the last bytes of the file, which are the checksum of its last record. They are zero if the
// block has no record.
func (b blockFile) lastChecksum() (sum checksum, err error) {
	f, err := os.Open(b.path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < checksumSize {
		return sum, err
	}
	_, err = f.ReadAt(sum[:], info.Size()-checksumSize)
	return sum, err
}

// scan reads the block and checks each record. It returns an error only if the file can't be read.
func (b blockFile) scan(stream string) (blockScan, error) {
	buf, err := os.ReadFile(b.path)
	if err != nil {
		return blockScan{}, err
	}
	return scanRecords(buf, newChecksum(fmt.Sprintf("%s-%d", stream, b.index))), nil
}

// scanRecords is scan for the contents of a block.
func scanRecords(buf []byte, h hash.Hash) blockScan {
	r := blockScan{size: int64(len(buf)), badAt: -1}
	at := 0
	for at < len(buf) {
		n, seq := validRecord(buf[at:], h)
		if n == 0 {
			break
		}
		r.lastSeq = max(r.lastSeq, seq)
		at += n
	}
	if at == len(buf) {
		return r
	}
	r.badAt = int64(at)
	// The length of the bad record may be wrong, so the next valid record may begin at any byte.
	next := at + 1
	for ; next < len(buf); next++ {
		if n, _ := validRecord(buf[next:], h); n > 0 {
			r.validAfter = true
			break
		}
	}
	r.zeroPage = bytes.Contains(buf[at:next], make([]byte, pageSize))
	return r
}

// validRecord returns the length and the sequence of the record at the beginning of b, or 0 if it is not valid.
func validRecord(b []byte, h hash.Hash) (length int, seq uint64) {
	if len(b) < recordHead {
		return 0, 0
	}
	le := binary.LittleEndian
	size, subject := le.Uint32(b), int(le.Uint16(b[20:]))
	headersLength := 0 // not part of the checksum
	if size&headersBit != 0 {
		headersLength = 4
	}
	size &^= headersBit
	if size > recordMaxSize || int(size) > len(b) || int(size) < recordHead+subject+headersLength+checksumSize {
		return 0, 0
	}
	end := int(size) - checksumSize
	h.Reset()
	h.Write(b[4:20])
	h.Write(b[recordHead : recordHead+subject])
	h.Write(b[recordHead+subject+headersLength : end])
	var sum checksum
	if !bytes.Equal(h.Sum(sum[:0]), b[end:size]) {
		return 0, 0
	}
	return int(size), le.Uint64(b[4:]) &^ (erasedBit | tombstoneBit)
}
