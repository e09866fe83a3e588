package kv

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StoredTalks returns the stream of conversations also while conversations are off, or nil if there is none.
//
// Errors: only those of NATS and ctx.
func (s *Store) StoredTalks(ctx context.Context) (*Talks, error) {
	if s.Talks != nil {
		return s.Talks, nil
	}
	t, err := OpenTalks(ctx, s.Users.b.nc, s.States.prefix)
	if t != nil {
		t.b.mayWrite = s.Users.b.mayWrite
	}
	return t, err
}

// StoredCursors returns the cursors also while conversations are off.
func (s *Store) StoredCursors() *Cursors { return &Cursors{b: s.Rosters.b} }

// EraseTalks removes all conversations of a user that is deleted, also while conversations are off.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict.
func (s *Store) EraseTalks(ctx context.Context, id string) error {
	t, err := s.StoredTalks(ctx)
	if err != nil || t == nil {
		return err
	}
	return t.EraseUser(ctx, id)
}

// PairsOf returns the conversations of a user that have records, sorted.
//
// Errors: ErrUserNotFound for an invalid id.
func (t *Talks) PairsOf(ctx context.Context, id string) ([]Pair, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("kv: %w", ErrUserNotFound)
	}
	pairs, err := t.pairsOf(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	slices.SortFunc(pairs, func(p, q Pair) int { return slices.Compare([]string{p.A, p.B}, []string{q.A, q.B}) })
	return pairs, nil
}

// RemoveBefore removes all records that were written before a time, and returns how many. The numbers of the
// conversations go on.
//
// Errors: only those of NATS and ctx.
func (t *Talks) RemoveBefore(ctx context.Context, before time.Time) (removed uint64, err error) {
	if removed, err = t.b.removeBefore(ctx, before); err != nil {
		return 0, fmt.Errorf("kv: remove records: %w", err)
	}
	return removed, nil
}

// removeBefore removes all messages that were written before a time, and returns how many.
func (b *bucket) removeBefore(ctx context.Context, before time.Time) (removed uint64, err error) {
	// A new consumer tells the sequence of the first message from that time on.
	c, err := b.js.CreateConsumer(ctx, b.stream(), jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &before,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: pageWork})
	if err != nil {
		return 0, err
	}
	first := c.CachedInfo().Delivered.Stream + 1
	err = b.js.DeleteConsumer(ctx, b.stream(), c.CachedInfo().Name)
	if err == nil || errors.Is(err, jetstream.ErrConsumerNotFound) {
		var response struct {
			apiResponse
			Purged uint64 `json:"purged"`
		}
		request := struct {
			Before uint64 `json:"seq"`
		}{first}
		err = b.request(ctx, "STREAM.PURGE", request, &response)
		removed = response.Purged
	}
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// TalkStats counts the stored conversations.
type TalkStats struct {
	Conversations int         `json:"conversations"`
	Dialogues     uint64      `json:"dialogues"`
	Records       uint64      `json:"records"` // a record has one or more dialogues
	Bytes         uint64      `json:"bytes"`
	Oldest        time.Time   `json:"oldest,omitzero"` // dialogue
	Newest        time.Time   `json:"newest,omitzero"` // dialogue
	Largest       []TalkCount `json:"largest"`         // conversations with the most dialogues, the largest first
}

// TalkCount is the number of dialogues of a conversation.
type TalkCount struct {
	Users     [2]string `json:"users"` // their ids
	Dialogues uint64    `json:"dialogues"`
}

// pairKey is a Pair in a third of its memory.
type pairKey [32]byte

func (p Pair) compact() (k pairKey) {
	a, _ := parseID(p.A)
	b, _ := parseID(p.B)
	copy(k[:], a[:])
	copy(k[16:], b[:])
	return k
}

func (k pairKey) pair() Pair { return Pair{hex.EncodeToString(k[:16]), hex.EncodeToString(k[16:])} }

// Stats reads all records and counts them. It calls progress with the number of records that it has read, once for some
// thousands.
//
// Errors: only those of NATS and ctx.
func (t *Talks) Stats(ctx context.Context, largest int, progress func(records uint64)) (s TalkStats, err error) {
	counts := make(map[pairKey]uint64)
	err = t.Scan(ctx, func(r *Record) error {
		if s.Records++; s.Records%progressRecords == 0 {
			progress(s.Records)
		}
		key := r.Pair.compact()
		if len(r.Dialogues) == 0 { // the conversation is erased up to here
			delete(counts, key)
			return nil
		}
		counts[key] += uint64(len(r.Dialogues))
		for i := range r.Dialogues {
			at := r.Dialogues[i].At
			if s.Oldest.IsZero() || at.Before(s.Oldest) {
				s.Oldest = at
			}
			if at.After(s.Newest) {
				s.Newest = at
			}
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("kv: count conversations: %w", err)
	}
	stream, err := t.b.js.Stream(ctx, t.b.stream())
	if err != nil {
		return s, fmt.Errorf("kv: count conversations: %w", err)
	}
	s.Bytes, s.Conversations, s.Largest = stream.CachedInfo().State.Bytes, len(counts), []TalkCount{}
	type count struct {
		key pairKey
		n   uint64
	}
	var top []count // the largest first
	for key, n := range counts {
		s.Dialogues += n
		at, _ := slices.BinarySearchFunc(top, count{key, n}, func(a, b count) int {
			return cmp.Or(cmp.Compare(b.n, a.n), slices.Compare(a.key[:], b.key[:]))
		})
		if at < largest {
			top = slices.Insert(top, at, count{key, n})
			top = top[:min(len(top), largest)]
		}
	}
	for _, c := range top {
		p := c.key.pair()
		s.Largest = append(s.Largest, TalkCount{[2]string{p.A, p.B}, c.n})
	}
	return s, nil
}
