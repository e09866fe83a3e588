package talk

import (
	"context"
	"time"

	"imctl/kv"
)

// A service is stalled while Options.MayWrite refuses writes, a commit has had no answer for Options.StallAfter, or the
// last commit or read failed. Meanwhile a plain dialogue, whose sender does not know of kept conversations, does not wait
// for the store: its sender delivers it, and the service stores it afterwards.
//
//	Add ─▶ ErrStalled, or Done.Unstored for a dialogue that was queued ─▶ the caller delivers it ─▶ AddLive
//
// Dialogues of one sender to one friend keep their order. While plain dialogues of a conversation are in a commit whose
// outcome is not known, later ones wait behind them, for at most doubtTime.

// Bounds of the delivered dialogues that wait for the store.
const (
	lateDialogues = 16 << 10
	lateBytes     = 16 << 20
)

// readsProve is how long after a commit without an answer a read does not show that records can be written: a leader
// without a quorum answers reads until it notices.
const readsProve = 10 * time.Second

// lateQueue are the delivered dialogues that wait until the service is no longer stalled, the oldest first.
type lateQueue struct {
	items []lateItem
	bytes int
}

type lateItem struct {
	pair kv.Pair
	item *item
}

// Stalled reports whether dialogues cannot be stored at the moment, and may be delivered all the same.
func (s *Service) Stalled() bool {
	return s.opts.MayDeliver() && (s.failing.Load() || s.slow(time.Now()) || s.opts.MayWrite() != nil)
}

// slow reports whether the current commit has had no answer for too long.
func (s *Service) slow(now time.Time) bool {
	began := s.began.Load()
	return began != 0 && now.UnixNano()-began > int64(s.opts.StallAfter)
}

// AddLive stores a dialogue that was delivered to a client of the friend while the service was stalled. Done.Stored is
// called when it is stored, and no method if the service drops it: too many wait, or the service ends.
func (s *Service) AddLive(to string, d kv.Dialogue, done Done) {
	p, err := s.admissible(to, &d)
	if err != nil {
		s.metrics.dropped.Inc()
		return
	}
	d.Live, d.Kept, d.Re = true, false, 0
	it := newItem(&d, done, time.Time{})
	stalled := s.Stalled()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.metrics.dropped.Inc()
		return
	}
	q := &s.late
	q.items = append(q.items, lateItem{p, it})
	q.bytes += it.size()
	s.stir()
	if !stalled {
		s.storeLate(len(q.items))
		return
	}
	for len(q.items) > lateDialogues || q.bytes > lateBytes {
		q.pop()
		s.metrics.dropped.Inc()
	}
}

func (q *lateQueue) pop() lateItem {
	l := q.items[0]
	q.items[0] = lateItem{}
	q.items = q.items[1:]
	q.bytes -= l.item.size()
	return l
}

// storeLate queues the n oldest delivered dialogues for their commit. The caller holds s.mu.
func (s *Service) storeLate(n int) {
	for range n {
		l := s.late.pop()
		s.enqueue(s.conversation(l.pair), l.item)
	}
}

// shed returns a job that hands the plain dialogues of a conversation back to their senders, or nil while one of them must
// not be overtaken: it is in a commit, or fixed, or a worker looks at it. The caller holds s.mu.
func (s *Service) shed(c *conversation) *job {
	if c.plainQueued == 0 || c.plain != c.plainQueued || c.fixed > 0 || c.attended && c.first.plain() {
		return nil
	}
	return s.drop(c, ErrStalled, (*item).plain)
}

// catchUpLate stores the delivered dialogues once the service is no longer stalled. To find out whether it still is, it
// stores one of them, or asks the stream's leader, unless another commit shows it.
func (s *Service) catchUpLate(now time.Time) {
	if s.opts.MayWrite() != nil || s.slow(now) {
		return
	}
	failing := s.failing.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.late.items)
	switch {
	case s.closed:
	case !failing:
		s.storeLate(n)
	case s.busy > 0:
	case n > 0:
		s.storeLate(1)
	case now.UnixNano()-s.unknown.Load() < int64(readsProve):
	case s.nc.IsConnected() && s.probing.CompareAndSwap(false, true):
		s.sweeps.Go(s.probe)
	}
}

// probed is a conversation that no users have.
var probed = kv.Pair{A: "00000000000000000000000000000000", B: "00000000000000000000000000000001"}

// probe asks the stream's leader for a record, to find out whether there is one.
func (s *Service) probe() {
	defer s.probing.Store(false)
	ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
	defer cancel()
	if _, err := s.opts.Talks.Last(ctx, probed); err == nil {
		s.recovered()
	}
}
