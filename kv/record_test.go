package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

var testPair = PairOf(strings.Repeat("0", 31)+"1", strings.Repeat("0", 31)+"2")

// dialogueAt returns a dialogue for tests.
func dialogueAt(ms int64, from, payload string) Dialogue {
	return Dialogue{From: from, ID: fmt.Appendf(nil, `"id%d"`, ms), Payload: []byte(payload), At: time.UnixMilli(ms).UTC(), Kept: true}
}

// chainOf returns a chain of stored records with random dialogues.
func chainOf(n int, random *rand.Rand) []*Record {
	r, seq := EmptyRecord(testPair, 0), uint64(0)
	var all []*Record
	for i := range n {
		var dialogues []Dialogue
		for range random.IntN(4) {
			d := dialogueAt(1_700_000_000_000+int64(i)-random.Int64N(2), testPair.A, fmt.Sprintf("%q", fmt.Sprint(i)))
			if random.IntN(2) == 0 {
				d.From = testPair.B
			}
			for _, n := range []*uint64{&d.Re, &d.Reacts, &d.Edits, &d.Deletes} {
				if r.Last > 0 && random.IntN(8) == 0 {
					*n = 1 + random.Uint64N(r.Last)
				}
			}
			d.Hidden, d.Kept = random.IntN(8) == 0, random.IntN(3) > 0
			if d.Re == 0 {
				d.Live = random.IntN(4) == 0
			}
			dialogues = append(dialogues, d)
		}
		r = r.Next(random.Uint64(), dialogues)
		seq += 1 + random.Uint64N(1000)
		r.Seq = seq
		all = append(all, r)
	}
	return all
}

func TestRecordCodec(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, r := range chainOf(600, random) {
		data := r.Append([]byte("front"))[len("front"):]
		got, err := DecodeRecord(r.Pair, r.Seq, data)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("record %d: decoded %+v, %v, want %+v", r.index, got, err, r)
		}
		for n := range data {
			if _, err := DecodeRecord(r.Pair, r.Seq, data[:n]); !errors.Is(err, errRecord) {
				t.Fatalf("record %d without its end from byte %d: %v", r.index, n, err)
			}
		}
		if _, err := DecodeRecord(r.Pair, r.Seq, append(data, 0)); !errors.Is(err, errRecord) {
			t.Fatalf("record %d with another byte: %v", r.index, err)
		}
	}
}

// Each skip pointer is what its definition says.
func TestRecordSkips(t *testing.T) {
	t.Parallel()
	all := chainOf(1200, rand.New(rand.NewPCG(3, 4)))
	for i, r := range all {
		var changes uint64
		for _, earlier := range all[:i] {
			if low, _ := earlier.changed(); low != 0 {
				changes = earlier.Seq
			}
		}
		if r.changes != changes || r.index != uint64(i+1) || i > 0 && (r.prev != all[i-1].Seq || r.origin != all[0].Seq) {
			t.Fatalf("record %d: index %d, changes %d, want %d; prev %d, origin %d", i+1, r.index, r.changes, changes, r.prev, r.origin)
		}
		k := 0
		for span := skipBase; span <= i; span, k = span*skipBase, k+1 {
			to := i / span * span // the index of the record, which counts from 1
			want := skip{seq: all[to-1].Seq, last: all[to-1].Last}
			for _, between := range all[to:i] {
				if low, high := between.changed(); low != 0 {
					if want.low == 0 || low < want.low {
						want.low = low
					}
					want.high = max(want.high, high)
				}
			}
			if k >= len(r.skips) || r.skips[k] != want {
				t.Fatalf("record %d, distance %d: %+v, want %+v", i+1, span, r.skips, want)
			}
		}
		if k != len(r.skips) {
			t.Fatalf("record %d has %d skip pointers, want %d", i+1, len(r.skips), k)
		}
	}
}

// The pointers lead from the newest of 5,000 records to each number in few steps.
func TestRecordBack(t *testing.T) {
	t.Parallel()
	all := chainOf(5000, rand.New(rand.NewPCG(9, 9)))
	bySeq := make(map[uint64]*Record, len(all))
	for _, r := range all {
		bySeq[r.Seq] = r
	}
	head, most := all[len(all)-1], 0
	for n := uint64(1); n <= head.Last; n++ {
		r, steps := head, 0
		for ; n < r.First; steps++ {
			r = bySeq[r.back(func(_, last uint64) bool { return last >= n })]
		}
		if most = max(most, steps); n > r.Last {
			t.Fatalf("number %d leads to the record of %d to %d", n, r.First, r.Last)
		}
	}
	if most > 35 {
		t.Errorf("a number took %d steps, want at most 35", most)
	}
}

func TestRecordNumbers(t *testing.T) {
	t.Parallel()
	r := EmptyRecord(testPair, 41)
	if r.Seq != 0 || r.Last != 41 {
		t.Errorf("an empty record: %+v", r)
	}
	r = r.Next(7, make([]Dialogue, 2))
	if r.First != 42 || r.Last != 43 || r.Nonce != 7 || r.Dialogues[0].N != 42 || r.Dialogues[1].N != 43 {
		t.Errorf("the first record: %+v", r)
	}
	r.Seq = 9
	if r = r.Next(8, nil); r.First != 44 || r.Last != 43 || r.prev != 9 || r.origin != 9 || r.start != 42 {
		t.Errorf("a record without dialogues: %+v", r)
	}
}

func TestRecordAllocations(t *testing.T) {
	r := chainOf(500, rand.New(rand.NewPCG(5, 6)))[499]
	buffer, dialogues := make([]byte, 0, 4096), []Dialogue{dialogueAt(1, testPair.A, `"x"`)}
	if n := testing.AllocsPerRun(100, func() { buffer = r.Next(1, dialogues).Append(buffer[:0]) }); n > 2 {
		t.Errorf("the next record and its encoding take %.0f allocations, want the record and its skip pointers", n)
	}
}

// A decoded record has one encoding.
func FuzzDecodeRecord(f *testing.F) {
	for i, r := range chainOf(80, rand.New(rand.NewPCG(7, 8))) {
		if i%9 == 0 || i < 3 {
			f.Add(r.Append(nil))
		}
	}
	f.Add([]byte{})
	f.Add([]byte{recordVersion + 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRecord(testPair, math.MaxUint64, bytes.Clone(data))
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, data) {
			t.Fatalf("decoded %x, encoded %x", data, again)
		}
		if r.Last-r.First+1 != uint64(len(r.Dialogues)) || len(r.skips) != skipsOf(r.index) {
			t.Fatalf("numbers %d to %d of %d dialogues, %d skip pointers at %d", r.First, r.Last, len(r.Dialogues), len(r.skips), r.index)
		}
		r.Next(1, []Dialogue{{}}) // must not panic
	})
}
