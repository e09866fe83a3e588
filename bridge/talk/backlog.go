package talk

import (
	"context"
	"sync"
	"time"

	"imctl/kv"
)

const (
	resolvers  = 4
	maxBacklog = 64 << 10
)

// move names the cursor of a user that is to be moved.
type move struct{ user, with string }

// backlog are the cursors that are to be moved once the document and the newest dialogue are read.
type backlog struct {
	mu     sync.Mutex
	wake   *sync.Cond
	moves  map[move][2]uint64 // got and read
	order  []move
	active int
	closed bool
}

func (b *backlog) init() {
	b.moves = make(map[move][2]uint64)
	b.wake = sync.NewCond(&b.mu)
}

// add adds a move. If there are too many it drops it: the client then gets these dialogues again.
func (b *backlog) add(m move, got, read uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.moves[m]
	if !ok {
		if len(b.moves) >= maxBacklog || b.closed {
			return
		}
		b.order = append(b.order, m)
	}
	b.moves[m] = [2]uint64{max(n[0], got), max(n[1], read)}
	b.wake.Signal()
}

// next waits for a move. ok is false after the last one.
func (b *backlog) next() (m move, n [2]uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.order) == 0 {
		if b.closed {
			return m, n, false
		}
		b.wake.Wait()
	}
	m = b.order[0]
	b.order = b.order[1:]
	n = b.moves[m]
	delete(b.moves, m)
	b.active++
	return m, n, true
}

// done ends a move.
func (b *backlog) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active--; b.active == 0 && len(b.order) == 0 {
		b.wake.Broadcast()
	}
}

// close refuses further moves, and waits for the others until ctx ends. It drops those that are left.
func (b *backlog) close(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.order = nil
		clear(b.moves)
		b.wake.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.wake.Broadcast()
	for len(b.order) > 0 || b.active > 0 && ctx.Err() == nil {
		b.wake.Wait()
	}
}

// resolveLoop moves cursors after it has read what is not in memory.
func (t *tracker) resolveLoop() {
	for {
		m, n, ok := t.backlog.next()
		if !ok {
			return
		}
		err := t.resolve(m, n[0])
		if err == nil {
			t.apply(m.user, m.with, n[0], n[1])
			t.backlog.done()
			continue
		}
		t.backlog.add(m, n[0], n[1])
		t.backlog.done()
		select {
		case <-t.ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

// resolve reads the cursor of a user, and the newest dialogue of the conversation unless n is known to exist.
func (t *tracker) resolve(m move, n uint64) error {
	ctx, cancel := context.WithTimeout(t.ctx, cursorTimeout)
	defer cancel()
	stored, loaded := t.known(m)
	if !loaded {
		cursors, err := t.s.opts.Cursors.Get(ctx, m.user)
		if err != nil {
			return err
		}
		stored = cursors[m.with]
		stored.With = m.with
	}
	last := stored.Last
	if n > last {
		r, err := t.s.opts.Talks.Last(ctx, kv.PairOf(m.user, m.with))
		if err != nil {
			return err
		}
		if r != nil {
			last = max(last, r.Last)
		}
	}
	if last == 0 { // there is no such conversation
		return nil
	}
	h := t.shard(m.user)
	h.mu.Lock()
	defer h.mu.Unlock()
	d, e, _ := h.entry(m.user, m.with)
	if d == nil {
		return nil
	}
	e.Cursor = e.Cursor.Merge(stored)
	e.Last = max(e.Last, last)
	if !loaded {
		e.written = e.written.Merge(stored)
	}
	e.loaded = true
	return nil
}

// known returns a cursor in memory, and whether the document was read for it.
func (t *tracker) known(m move) (_ kv.Cursor, loaded bool) {
	h := t.shard(m.user)
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.docs[m.user]; d != nil && d.entries[m.with] != nil {
		return d.entries[m.with].Cursor, d.entries[m.with].loaded
	}
	return kv.Cursor{}, false
}
