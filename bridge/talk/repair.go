package talk

import (
	"context"
	"errors"
	"slices"
	"time"

	"imctl/kv"
)

// maxForeign is the largest number of records of other nodes whose ids are added to those in memory.
const maxForeign = 64

// promptConflicts is how often a record is published again without a pause: another node's record is soon committed.
const promptConflicts = 8

// repair settles a job whose outcome is not known, or that conflicted.
func (s *Service) repair(ctx context.Context, c *conversation) error {
	j := c.job
	head, err := s.newest(ctx, c)
	if err != nil {
		return err
	}
	// The record with the first number of the job is the job's own, or that of another node.
	r, err := s.recordOf(ctx, head, j.rec.First)
	if err != nil {
		return err
	}
	if r != nil && r.Nonce == j.nonce {
		if err := s.catchUp(ctx, c, head, r.Seq); err != nil {
			return err
		}
		j.rec.Seq = r.Seq
		c.job, c.refused = nil, nil
		c.adopt(head, 0)
		s.recovered()
		s.settle([]*job{j})
		return nil
	}
	if sequence(head) != c.head.Seq {
		return s.renumber(ctx, c, head)
	}
	// Only a newer record shows that this one is not stored. It may still be on its way, and a conflict may be with a
	// record that is not committed yet, even with the job's own, or come from a leader that does not know yet that another
	// one has replaced it and stores the record. The next try has the same expected sequence, so it is stored once.
	j.doubt = false
	if !kv.Conflicting(j.refused) {
		return j.refused
	}
	c.apart = time.Now().Add(apartTime)
	if j.conflicts++; j.conflicts > promptConflicts {
		return j.refused
	}
	return nil
}

// sequence returns the sequence of a record, 0 for nil.
func sequence(r *kv.Record) uint64 {
	if r == nil {
		return 0
	}
	return r.Seq
}

// recordOf returns the record that has dialogue n, or nil if there is none.
func (s *Service) recordOf(ctx context.Context, head *kv.Record, n uint64) (*kv.Record, error) {
	_, r, err := s.dialogue(ctx, head, n)
	if errors.Is(err, kv.ErrNoDialogue) {
		return nil, nil
	}
	return r, err
}

// renumber puts the dialogues of a job back to the front of the queue, after another node has written to the
// conversation.
func (s *Service) renumber(ctx context.Context, c *conversation, head *kv.Record) error {
	c.ids.truncate(c.head.Last)
	if err := s.follow(ctx, c, head); err != nil {
		return err
	}
	s.metrics.conflicts.Inc()
	c.apart = time.Now().Add(apartTime)
	s.requeue(c)
	return nil
}

// requeue puts the dialogues of a job back to the front of the queue: the job is not stored. Those that were answered
// meanwhile are dropped.
func (s *Service) requeue(c *conversation) {
	j := c.job
	c.job = nil
	var left []*item
	for _, it := range j.items {
		if it.done == nil {
			freeItem(it)
			continue
		}
		it.checked, it.again = false, false
		left = append(left, it)
	}
	s.mu.Lock()
	c.attended = false
	s.putBack(c, left)
	s.mu.Unlock()
	freeJob(j)
}

// catchUp adds the ids of the records after the sequence to those in memory. It forgets all ids if there are many
// records.
func (s *Service) catchUp(ctx context.Context, c *conversation, head *kv.Record, after uint64) error {
	c.walk = nil
	if c.ids == nil || head == nil {
		return nil
	}
	var records []*kv.Record
	for r := head; r != nil && r.Seq > after; {
		if len(records) == maxForeign {
			c.ids = nil
			return nil
		}
		records = append(records, r)
		var err error
		if r, err = s.opts.Talks.Before(ctx, r); err != nil {
			return err
		}
	}
	for _, r := range slices.Backward(records) {
		for i := range r.Dialogues {
			if d := &r.Dialogues[i]; d.Kept {
				c.ids.add(s.hashID(d.From, d.ID), d.N, d.At.UnixMilli())
			}
		}
	}
	return nil
}

// walkRecords is how many records a walk reads at once.
const walkRecords = 512

// idWalk reads the ids of a conversation, from its newest record back.
type idWalk struct {
	last uint64 // number of the newest dialogue
	used []usedID
	at   *kv.Record // the oldest record that was read; nil: the walk is complete
}

// loadIDs reads the ids that senders have used lately. head is the newest record, or nil if it was not read. Errors:
// errMore if it takes long; the next call goes on.
func (s *Service) loadIDs(ctx context.Context, c *conversation, head *kv.Record) error {
	started := time.Now()
	w := c.walk
	if w == nil || w.last != c.head.Last {
		if head == nil && c.head.Seq != 0 {
			var err error
			if head, err = s.load(ctx, c); err != nil {
				return err
			}
		}
		w = &idWalk{last: c.head.Last, at: head}
		c.walk = w
		s.remember(w, head)
	}
	for w.at != nil {
		if time.Since(started) > readTimeout/2 {
			return errMore
		}
		records, err := s.opts.Talks.Earlier(ctx, w.at, walkRecords)
		for _, r := range records {
			if s.remember(w, r); w.at == nil {
				break
			}
		}
		if err != nil && w.at != nil {
			return err
		}
		if len(records) < walkRecords {
			w.at = nil
		}
	}
	c.walk = nil
	c.ids = newIDs()
	slices.Reverse(w.used)
	c.ids.queue = w.used
	for _, e := range w.used {
		c.ids.numbers[e.hash] = e.n
	}
	return nil
}

// remember adds the ids of a record, and ends the walk behind the last record that matters.
func (s *Service) remember(w *idWalk, r *kv.Record) {
	w.at = r
	if r == nil {
		return
	}
	now := time.Now().UnixMilli()
	for i := range slices.Backward(r.Dialogues) {
		d := &r.Dialogues[i]
		at := d.At.UnixMilli()
		if outdated(d.N, w.last+1, at, now) {
			w.at = nil
			return
		}
		if d.Kept {
			w.used = append(w.used, usedID{s.hashID(d.From, d.ID), d.N, at})
		}
	}
}
