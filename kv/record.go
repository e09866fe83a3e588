package kv

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Record is one message of the stream of conversations: dialogues of one conversation that were committed together.
//
// The records of a conversation are a chain: each points to the one before it, and by skip pointers further back. What
// a record points to follows from the record before it alone. So a writer needs only the newest record, and a read
// needs only messages by their sequence, the cheapest read that NATS has.
type Record struct {
	Pair        Pair
	Seq         uint64 // sequence in the stream; 0: not stored
	Nonce       uint64 // random, of the writer: tells whether a commit with unknown outcome has been stored
	First, Last uint64 // numbers of its dialogues; Last is First-1 if it has none
	Dialogues   []Dialogue

	index   uint64 // position in the chain, from 1; 0: the record in front of a conversation without records
	prev    uint64 // sequence of the record before; for the first one that of the newest record that it erases, or 0
	origin  uint64 // sequence of the first record of the chain; 0 in that record
	start   uint64 // number of the first dialogue of the chain
	changes uint64 // sequence of the newest earlier record that changes earlier dialogues; 0: none
	skips   []skip // skips[k] points to the newest earlier record whose index is a multiple of 8^(k+1)
}

// skip is a skip pointer.
type skip struct {
	seq, last uint64 // sequence of the record, and number of its last dialogue
	// The lowest and the highest number of the dialogues that the records after it change, up to the record that has the
	// pointer and without that one. 0: they change none.
	low, high uint64
}

const (
	recordVersion = 1
	skipBase      = 8       // the ratio of the distances of two skip pointers
	maxIndex      = 1 << 56 // of a record
)

// errRecord: a message is no record.
var errRecord = errors.New("not a record of a conversation")

// EmptyRecord returns the record in front of a conversation without records, whose next dialogue has the number base+1.
func EmptyRecord(p Pair, base uint64) *Record {
	return &Record{Pair: p, First: base + 1, Last: base, start: base + 1}
}

// Next returns the record that follows r, with these dialogues. It sets their numbers. r must be stored or come from
// EmptyRecord.
func (r *Record) Next(nonce uint64, dialogues []Dialogue) *Record {
	n := &Record{
		Pair:      r.Pair,
		Nonce:     nonce,
		First:     r.Last + 1,
		Last:      r.Last + uint64(len(dialogues)),
		Dialogues: dialogues,
		index:     r.index + 1,
		prev:      r.Seq,
		start:     r.start,
	}
	for i := range dialogues {
		dialogues[i].N = n.First + uint64(i)
	}
	if r.index == 0 {
		return n
	}
	n.origin, n.changes = cmp.Or(r.origin, r.Seq), r.changes
	low, high := r.changed()
	if low != 0 {
		n.changes = r.Seq
	}
	if levels := skipsOf(n.index); levels > 0 {
		n.skips = make([]skip, 0, levels)
	}
	for span := uint64(skipBase); span < n.index; span *= skipBase {
		next := skip{seq: r.Seq, last: r.Last}
		if r.index%span != 0 {
			next = r.skips[len(n.skips)]
			if low != 0 {
				next.low, next.high = min(cmp.Or(next.low, low), low), max(next.high, high)
			}
		}
		n.skips = append(n.skips, next)
	}
	return n
}

// skipsOf returns how many skip pointers the record with that index has.
func skipsOf(index uint64) (n int) {
	for span := uint64(skipBase); span < index; span *= skipBase {
		n++
	}
	return n
}

// changed returns the lowest and the highest number of the dialogues that r changes, 0 if it changes none.
func (r *Record) changed() (low, high uint64) {
	for i := range r.Dialogues {
		for _, n := range [...]uint64{r.Dialogues[i].Edits, r.Dialogues[i].Deletes} {
			if n != 0 {
				low, high = min(cmp.Or(low, n), n), max(high, n)
			}
		}
	}
	return low, high
}

// The flags of an encoded dialogue.
const (
	flagFromB = 1 << iota
	flagKept
	flagHidden
	flagRe
	flagReacts
	flagEdits
	flagDeletes
	flagMore // a byte of further flags follows
)

// The further flags.
const (
	flagFile = 1 << iota
	moreEnd
)

// Append appends the encoded record. DecodeRecord is its inverse.
func (r *Record) Append(dst []byte) []byte {
	dst = append(dst, recordVersion)
	dst = binary.LittleEndian.AppendUint64(dst, r.Nonce)
	for _, n := range [...]uint64{r.index, r.prev, r.start} {
		dst = binary.AppendUvarint(dst, n)
	}
	if r.index > 1 {
		dst = r.appendChain(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Dialogues)))
	at := int64(0)
	for i := range r.Dialogues {
		d := &r.Dialogues[i]
		ms := d.At.UnixMilli()
		flags := d.flags(r.Pair)
		if d.File != nil { // versions without files cannot read the record
			dst = append(dst, flags|flagMore, flagFile)
		} else {
			dst = append(dst, flags)
		}
		dst = binary.AppendVarint(dst, ms-at)
		at = ms
		for _, text := range [...][]byte{d.ID, d.Payload} {
			dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
		}
		for _, n := range [...]uint64{d.re(), d.Reacts, d.Edits, d.Deletes} {
			if n != 0 {
				dst = binary.AppendUvarint(dst, n)
			}
		}
		if d.File != nil {
			dst = append(binary.AppendUvarint(dst, uint64(len(d.File))), d.File...)
		}
	}
	return dst
}

// appendChain appends what a record points to, except the record before. Sequences and numbers are distances from the
// pointer before, which are short.
func (r *Record) appendChain(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, r.First-r.start)
	dst = binary.AppendUvarint(dst, r.prev-r.origin)
	changes := uint64(0)
	if r.changes != 0 {
		changes = r.prev - r.changes + 1
	}
	dst = binary.AppendUvarint(dst, changes)
	seq, last := r.prev, r.First-1
	for _, s := range r.skips {
		for _, n := range [...]uint64{seq - s.seq, last - s.last, s.low} {
			dst = binary.AppendUvarint(dst, n)
		}
		if s.low != 0 {
			dst = binary.AppendUvarint(dst, s.high-s.low)
		}
		seq, last = s.seq, s.last
	}
	return dst
}

// re returns the number in the place of Re. A dialogue with Live names itself there: versions without Live read it as a
// reply to itself, which no client can send. A dialogue with Live has no Re.
func (d *Dialogue) re() uint64 {
	if d.Live {
		return d.N
	}
	return d.Re
}

func (d *Dialogue) flags(p Pair) (flags byte) {
	for i, set := range [...]bool{d.From == p.B, d.Kept, d.Hidden, d.re() != 0, d.Reacts != 0, d.Edits != 0, d.Deletes != 0} {
		if set {
			flags |= 1 << i
		}
	}
	return flags
}

// DecodeRecord decodes a record of the conversation p with a sequence. The record refers to data.
func DecodeRecord(p Pair, seq uint64, data []byte) (*Record, error) {
	d := decoder{data: data}
	if version := d.bytes(1); version != nil && version[0] != recordVersion {
		return nil, fmt.Errorf("%w: it has version %d: use a newer imctl", errRecord, version[0])
	}
	r := &Record{Pair: p, Seq: seq}
	if nonce := d.bytes(8); nonce != nil {
		r.Nonce = binary.LittleEndian.Uint64(nonce)
	}
	r.index, r.prev, r.start = d.uvarint(), d.uvarint(), d.uvarint()
	r.First = r.start
	d.check(r.index >= 1 && r.index <= maxIndex && r.start >= 1 && (seq == 0 || r.prev < seq))
	if r.index > 1 && !d.failed {
		r.decodeChain(&d)
	}
	r.decodeDialogues(&d)
	if d.check(len(d.data) == 0); d.failed {
		return nil, errRecord
	}
	return r, nil
}

// decodeChain is the inverse of appendChain.
func (r *Record) decodeChain(d *decoder) {
	r.First = d.plus(r.start, d.uvarint())
	r.origin = d.minus(r.prev, d.uvarint())
	changes := d.uvarint()
	if changes != 0 {
		r.changes = d.minus(r.prev, changes-1)
	}
	d.check(r.prev != 0 && r.origin != 0 && (changes == 0 || r.changes != 0))
	levels := skipsOf(r.index)
	if d.failed || levels == 0 {
		return
	}
	r.skips = make([]skip, 0, levels)
	seq, last := r.prev, r.First-1
	for range levels {
		s := skip{seq: d.minus(seq, d.uvarint()), last: d.minus(last, d.uvarint()), low: d.uvarint()}
		if s.low != 0 {
			s.high = d.plus(s.low, d.uvarint())
		}
		d.check(s.seq != 0)
		r.skips = append(r.skips, s)
		seq, last = s.seq, s.last
	}
}

// minDialogue is the size of the shortest encoded dialogue. It bounds what a damaged count allocates.
const minDialogue = 4

func (r *Record) decodeDialogues(d *decoder) {
	count := d.uvarint()
	r.Last = d.plus(r.First, count) - 1
	if d.check(count <= uint64(len(d.data)/minDialogue)); d.failed || count == 0 {
		return
	}
	r.Dialogues = make([]Dialogue, count)
	at := int64(0)
	for i := range r.Dialogues {
		flags := d.bytes(1)
		if d.failed {
			return
		}
		more := byte(0)
		if flags[0]&flagMore != 0 {
			if b := d.bytes(1); b != nil {
				more = b[0]
			}
			if d.check(more != 0 && more < moreEnd); d.failed {
				return
			}
		}
		at += d.varint()
		r.Dialogues[i] = Dialogue{
			N:       r.First + uint64(i),
			From:    r.Pair.A,
			At:      time.UnixMilli(at).UTC(),
			ID:      d.bytes(d.uvarint()),
			Payload: d.bytes(d.uvarint()),
			Kept:    flags[0]&flagKept != 0,
			Hidden:  flags[0]&flagHidden != 0,
			Re:      d.number(flags[0]&flagRe != 0),
			Reacts:  d.number(flags[0]&flagReacts != 0),
			Edits:   d.number(flags[0]&flagEdits != 0),
			Deletes: d.number(flags[0]&flagDeletes != 0),
		}
		if flags[0]&flagFromB != 0 {
			r.Dialogues[i].From = r.Pair.B
		}
		if l := &r.Dialogues[i]; l.Re == l.N {
			l.Live, l.Re = true, 0
		}
		if more&flagFile != 0 {
			r.Dialogues[i].File = d.bytes(d.uvarint())
			d.check(len(r.Dialogues[i].File) > 0)
		}
	}
}

// decoder decodes data from its beginning. After a failure it returns zero values.
type decoder struct {
	data   []byte
	failed bool
}

// check makes the decoding fail unless ok.
func (d *decoder) check(ok bool) { d.failed = d.failed || !ok }

// bytes returns the next n bytes.
func (d *decoder) bytes(n uint64) []byte {
	if d.check(n <= uint64(len(d.data))); d.failed {
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}

// uvarint returns the next number. Longer encodings than necessary fail.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if d.check(n > 0 && (n == 1 || d.data[n-1] != 0)); d.failed {
		return 0
	}
	d.data = d.data[n:]
	return v
}

// varint returns the next signed number.
func (d *decoder) varint() int64 {
	v := d.uvarint()
	n := int64(v >> 1)
	if v&1 != 0 {
		n = ^n
	}
	return n
}

// number returns the next number, which is not 0, if there is one.
func (d *decoder) number(present bool) uint64 {
	if !present {
		return 0
	}
	n := d.uvarint()
	d.check(n != 0)
	return n
}

// plus and minus fail if the result is out of range.
func (d *decoder) plus(a, b uint64) uint64 {
	d.check(a <= math.MaxUint64-b)
	return a + b
}

func (d *decoder) minus(a, b uint64) uint64 {
	d.check(b <= a)
	return a - b
}
