package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"os"

	"github.com/minio/highwayhash"
)

// A message block, <n>.blk, is a row of records:
//
//	length, top bit: has headers   uint32
//	sequence, top bits: see below  uint64
//	time                           int64
//	length of the subject          uint16
//	subject, [uint32 length of headers, headers], message
//	hash of all but the lengths    8 bytes
//
// all little endian (nats-server, server/filestore.go, writeMsgRecordLocked).
const (
	recordHead = 22
	recordHash = 8
	recordMax  = 32 << 20

	headersBit = 1 << 31
	erasedBit  = 1 << 63 // a message that was erased
	tombBit    = 1 << 62 // a note that another message was deleted

	// page is the least that a disk leaves out when the power goes while several
	// writes are under way: such a hole reads as zeros.
	page = 512
)

// blockScan is what one message block holds.
type blockScan struct {
	size    int64
	lastSeq uint64 // the highest sequence that any record speaks of

	broken     int64 // where the first bad record begins; -1: all are good
	wholeAfter bool  // good records follow the bad one
	hole       bool  // the bad stretch has a page of zeros in it
}

// scanBlock reads a message block and checks each record. Only what can't be read
// is an error.
func scanBlock(path, stream string, index uint32) (blockScan, error) {
	buf, err := os.ReadFile(path)
	if err != nil {
		return blockScan{}, err
	}
	r := blockScan{size: int64(len(buf)), broken: -1}
	h := newHash(fmt.Sprintf("%s-%d", stream, index))
	at := 0
	for at < len(buf) {
		n, seq := record(buf[at:], h)
		if n == 0 {
			break
		}
		r.lastSeq = max(r.lastSeq, seq)
		at += n
	}
	if at == len(buf) {
		return r, nil
	}
	r.broken = int64(at)
	// The bad record's own length can't be trusted: look for a good one anywhere.
	next := at + 1
	for ; next < len(buf); next++ {
		if n, _ := record(buf[next:], h); n > 0 {
			r.wholeAfter = true
			break
		}
	}
	r.hole = bytes.Contains(buf[at:next], make([]byte, page))
	return r, nil
}

// record measures the good record that b begins with; 0 when there is none.
func record(b []byte, h hash.Hash) (length int, seq uint64) {
	if len(b) < recordHead {
		return 0, 0
	}
	le := binary.LittleEndian
	rl, subject := le.Uint32(b), int(le.Uint16(b[20:]))
	headers := rl&headersBit != 0
	rl &^= headersBit
	skip := 0 // The length of the headers is not hashed.
	if headers {
		skip = 4
	}
	if rl > recordMax || int(rl) > len(b) || int(rl) < recordHead+subject+skip+recordHash {
		return 0, 0
	}
	end := int(rl) - recordHash
	h.Reset()
	h.Write(b[4:20])
	h.Write(b[recordHead : recordHead+subject])
	h.Write(b[recordHead+subject+skip : end])
	var sum [recordHash]byte
	if !bytes.Equal(h.Sum(sum[:0]), b[end:rl]) {
		return 0, 0
	}
	return int(rl), le.Uint64(b[4:]) &^ (erasedBit | tombBit)
}

// newHash makes the hash that nats-server marks its files with.
func newHash(key string) hash.Hash64 {
	k := sha256.Sum256([]byte(key))
	h, err := highwayhash.New64(k[:])
	if err != nil {
		panic(err) // Only a key of another length is an error.
	}
	return h
}
