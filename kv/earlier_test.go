package kv

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestEarlier reads the records before each of some records, in a conversation whose records are between those of others.
func TestEarlier(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	const count = 600
	var heads []*Record
	mine, other := EmptyRecord(pairAt(0), 0), EmptyRecord(pairAt(1), 0)
	for i := range count {
		mine = say(t, s.Talks, mine, dialogueAt(1, mine.Pair.A, `"x"`))
		heads = append(heads, mine)
		if i%3 == 0 {
			other = say(t, s.Talks, other, dialogueAt(1, other.Pair.A, `"x"`))
		}
	}
	for _, at := range []uint64{1, 2, 8, 9, 64, 65, 66, 513, 599, 600} {
		for _, n := range []uint64{0, 1, 7, 8, 63, 100, 512, 1000} {
			all, err := s.Talks.Earlier(ctx, heads[at-1], n)
			if err != nil {
				t.Fatal(err)
			}
			if want := min(n, at-1); uint64(len(all)) != want {
				t.Errorf("%d before record %d: got %d, want %d", n, at, len(all), want)
			}
			for i, r := range all {
				if want := heads[at-2-uint64(i)]; r.Seq != want.Seq || r.First != want.First {
					t.Fatalf("record %d back from %d is %d, want %d", i+1, at, r.Seq, want.Seq)
				}
			}
		}
	}
	// What has been read is returned.
	ended, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	if all, err := s.Talks.Earlier(ended, heads[count-1], 10); !errors.Is(err, context.DeadlineExceeded) || len(all) != 0 {
		t.Errorf("after the deadline: %d records, %v", len(all), err)
	}
}
