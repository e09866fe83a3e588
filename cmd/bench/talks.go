package bench

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/kv"
	"imctl/kv/batch"
)

const (
	// talkBatch is the number of records that Talks.fill stores at once.
	talkBatch = 500
	// talkNonce marks the records of test conversations.
	talkNonce = 0x62656e6368
)

// Talks writes the conversations of test accounts directly to their stream.
type Talks struct {
	NC    *nats.Conn
	Talks *kv.Talks

	made []kv.Pair
}

// fillOptions say what Talks.fill writes.
type fillOptions struct {
	each      int // dialogues of each conversation
	perRecord int // dialogues of one record
	size      int // bytes of a payload
}

// fill writes conversations. It takes turns between them, so that the records of one are spread over the stream, as they
// are after real use.
func (t *Talks) fill(ctx context.Context, pairs []kv.Pair, o fillOptions, progress *Progress) error {
	heads := make([]*kv.Record, len(pairs))
	for i, p := range pairs {
		heads[i] = kv.EmptyRecord(p, 0)
	}
	t.made = append(t.made, pairs...)
	run, payload := kv.NewID(), []byte(`"`+strings.Repeat("p", o.size)+`"`)
	batches, stored := 0, 0
	stop := progress.every(func() string { return fmt.Sprintf("writing dialogues: %d of %d", stored, o.each*len(pairs)) })
	defer stop()
	for first := 1; first <= o.each; first += o.perRecord {
		n := min(o.perRecord, o.each+1-first)
		for from := 0; from < len(pairs); from += talkBatch {
			part := heads[from:min(from+talkBatch, len(pairs))]
			at := time.Now().UTC().Truncate(time.Millisecond)
			for i, head := range part {
				part[i] = head.Next(talkNonce, benchDialogues(head.Pair, first, n, at, payload))
			}
			batches++
			ack, err := batch.Batch{ID: run + strconv.Itoa(batches), Size: len(part), Message: func(i int, m *nats.Msg) {
				m.Subject, m.Data = t.Talks.Subject(part[i].Pair), part[i].Append(nil)
			}}.Publish(ctx, t.NC)
			if err != nil {
				return fmt.Errorf("write conversations: %w", err)
			}
			for i, r := range part {
				r.Seq, r.Dialogues = ack.Sequence-uint64(len(part)-1-i), nil
			}
			stored += n * len(part)
		}
	}
	return nil
}

// benchDialogues returns n dialogues of a conversation. Its users take turns.
func benchDialogues(p kv.Pair, first, n int, at time.Time, payload []byte) []kv.Dialogue {
	all := make([]kv.Dialogue, n)
	for i := range all {
		from := p.A
		if (first+i)%2 == 0 {
			from = p.B
		}
		all[i] = kv.Dialogue{From: from, ID: []byte(`"` + strconv.Itoa(first+i) + `"`), Payload: payload, At: at, Kept: true}
	}
	return all
}

// Remove erases the conversations that fill has written.
func (t *Talks) Remove(ctx context.Context) error {
	for _, p := range t.made {
		if err := t.Talks.Erase(ctx, p); err != nil {
			return fmt.Errorf("erase the test conversations: %w", err)
		}
	}
	t.made = nil
	return nil
}

// pairsOfFriends returns the conversations of friends among people.
func pairsOfFriends(people []Person, friends iter.Seq2[int, int]) []kv.Pair {
	var all []kv.Pair
	for i, j := range friends {
		all = append(all, kv.PairOf(people[i].ID, people[j].ID))
	}
	return all
}
