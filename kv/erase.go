package kv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// A purge of a subject makes nats-server load all blocks of the stream between the subject's first and its last
// message, while no other message can be stored: gigabytes for a conversation with one old dialogue and a new one. So
// records are deleted one by one, found by the chain.

// eraseParallel is how many records are deleted at once.
const eraseParallel = 16

// Erase removes all dialogues of a conversation. Its numbers go on. A concurrent writer conflicts, and then follows.
// What an interrupted call left is removed by the next one.
//
// Errors: ErrConflict.
func (t *Talks) Erase(ctx context.Context, p Pair) error { return t.EraseUpTo(ctx, p, math.MaxUint64) }

// EraseUpTo is Erase unless the conversation has dialogues after last: then it removes nothing.
//
// Errors: ErrConflict.
func (t *Talks) EraseUpTo(ctx context.Context, p Pair, last uint64) error {
	var from uint64 // sequence of the newest record to remove
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		head, err := t.Last(ctx, p)
		if from = 0; err != nil || head == nil || head.Last > last {
			return err
		}
		if from = head.prev; head.index == 1 && len(head.Dialogues) == 0 { // it is erased
			return nil
		}
		from = head.Seq
		end := EmptyRecord(p, head.Last)
		end.Seq = head.Seq // the record before the first one of the new chain
		return t.publish(ctx, end.Next(0, nil))
	})
	if err == nil {
		err = t.remove(ctx, p, from)
	}
	if err != nil {
		return fmt.Errorf("kv: erase a conversation: %w", err)
	}
	return nil
}

// publish stores a record after the one before it.
func (t *Talks) publish(ctx context.Context, r *Record) error {
	if err := t.b.writable(); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	m := &nats.Msg{Subject: t.Subject(r.Pair), Data: r.Append(nil), Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(r.prev, 10))
	ack, err := t.b.js.PublishMsg(ctx, m)
	if err != nil {
		return fmt.Errorf("write to %s: %w", t.b.stream(), err)
	}
	r.Seq = ack.Sequence
	return nil
}

// remove deletes the record with that sequence and all records before it, in the chains that were erased before, too.
// It deletes the oldest ones first, so that an interrupted removal can be completed.
func (t *Talks) remove(ctx context.Context, p Pair, seq uint64) error {
	var all []uint64
	for seq != 0 {
		r, err := t.at(ctx, p, seq)
		if errors.Is(err, ErrNoDialogue) { // it has expired, or an interrupted removal has deleted it
			if err := t.removeBehind(ctx, p, seq); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
		all, seq = append(all, seq), r.prev
	}
	for len(all) > 0 {
		oldest := all[max(0, len(all)-eraseParallel):]
		group, ctx := errgroup.WithContext(ctx)
		for _, seq := range oldest {
			group.Go(func() error { return t.deleteRecord(ctx, seq) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		all = all[:len(all)-len(oldest)]
	}
	return nil
}

// removeBehind deletes the records before a missing one, to which no chain leads.
func (t *Talks) removeBehind(ctx context.Context, p Pair, missing uint64) error {
	for {
		e, err := t.b.nextKey(ctx, p.key(), 0)
		if errors.Is(err, errKeyNotFound) || err == nil && e.revision > missing {
			return nil
		}
		if err == nil {
			err = t.deleteRecord(ctx, e.revision)
		}
		if err != nil {
			return err
		}
	}
}

// deleteRecord deletes a message. A missing one is no error.
func (t *Talks) deleteRecord(ctx context.Context, seq uint64) error {
	var response struct {
		apiResponse
		Success bool `json:"success"`
	}
	request := struct {
		Seq     uint64 `json:"seq"`
		NoErase bool   `json:"no_erase"` // else nats-server writes the whole block again, megabytes for each message
	}{seq, true}
	err := t.b.request(ctx, "STREAM.MSG.DELETE", request, &response)
	if hasCode(err, codeSequenceNotFound) {
		return nil
	}
	if err == nil && !response.Success {
		err = errors.New("the server reports no success")
	}
	if err != nil {
		return fmt.Errorf("delete message %d of %s: %w", seq, t.b.stream(), err)
	}
	return nil
}

// maxEraseRounds bounds how often EraseUser looks for conversations that were written meanwhile.
const maxEraseRounds = 4

// EraseUser removes all records of the conversations of a user that is deleted.
//
// Errors: ErrUserNotFound for an invalid id, ErrConflict if the user's conversations are still written.
func (t *Talks) EraseUser(ctx context.Context, id string) error {
	if !ValidID(id) {
		return fmt.Errorf("kv: erase conversations: %w", ErrUserNotFound)
	}
	for round := range maxEraseRounds {
		pairs, err := t.pairsOf(ctx, id)
		if err == nil && len(pairs) == 0 {
			return nil
		}
		for i := 0; err == nil && i < len(pairs); i++ {
			err = t.eraseAll(ctx, pairs[i], round == 0)
		}
		if err != nil {
			return fmt.Errorf("kv: erase conversations: %w", err)
		}
	}
	return fmt.Errorf("kv: erase conversations: %w", ErrConflict)
}

// eraseAll removes all records of a conversation: those of its chain, or by a purge if the chain is broken.
func (t *Talks) eraseAll(ctx context.Context, p Pair, chained bool) error {
	if chained {
		head, err := t.Last(ctx, p)
		if err == nil && head != nil {
			err = t.remove(ctx, p, head.Seq)
		}
		if !errors.Is(err, errRecord) {
			return err
		}
	}
	return t.b.purgeSubjects(ctx, t.Subject(p), 0)
}

// pairsOf returns the conversations of a user that have records.
func (t *Talks) pairsOf(ctx context.Context, id string) ([]Pair, error) {
	var pairs []Pair
	for _, filter := range t.prefix.TalksOf(id) {
		for offset := 0; ; {
			var info struct {
				apiResponse
				Total int `json:"total"` // of the subjects, on all pages
				State struct {
					Subjects map[string]uint64 `json:"subjects"`
				} `json:"state"`
			}
			request := map[string]any{"subjects_filter": filter, "offset": offset}
			if err := t.b.request(ctx, "STREAM.INFO", request, &info); err != nil {
				return nil, fmt.Errorf("list the conversations in %s: %w", t.b.stream(), err)
			}
			for s := range info.State.Subjects {
				if a, b, ok := t.prefix.ParseTalk(s); ok {
					pairs = append(pairs, Pair{a, b})
				}
			}
			if offset += len(info.State.Subjects); len(info.State.Subjects) == 0 || offset >= info.Total {
				break
			}
		}
	}
	return pairs, nil
}
