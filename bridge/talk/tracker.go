package talk

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"imctl/kv"
)

const (
	cursorShards = 64
	shardDocs    = 4 << 10 // users in one shard
	// A document is written flushEvery after a cursor in it has moved. If only new dialogues have moved its Last, it
	// can wait for lazyFlush, since every other write has it too.
	flushEvery  = time.Second
	lazyFlush   = time.Minute
	idleCursors = 10 * time.Minute // cursors that are not used for so long leave the memory
	// flushers is how many documents are written at once.
	flushers      = 16
	cursorTimeout = 5 * time.Second
)

// tracker knows cursors that are not written yet, and those that were used lately.
type tracker struct {
	s      *Service
	seed   maphash.Seed
	shards [cursorShards]shard
	kick   chan struct{} // takes a value when a document is to be written at once
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	backlog
}

type shard struct {
	mu    sync.Mutex
	docs  map[string]*doc
	dirty []*doc
}

// doc is the part of a user's document that is in memory.
type doc struct {
	user    string
	entries map[string]*entry
	due     time.Time // of the next write; zero: nothing is to be written
	listed  bool      // it is in shard.dirty
	writing bool
	used    time.Time
}

// entry is a cursor in memory.
type entry struct {
	kv.Cursor
	written kv.Cursor // what the document has at least
	loaded  bool      // Cursor is not behind the document as it was when it was read
}

func newTracker(s *Service) *tracker {
	t := &tracker{s: s, seed: maphash.MakeSeed(), kick: make(chan struct{}, 1)}
	for i := range t.shards {
		t.shards[i].docs = make(map[string]*doc)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.backlog.init()
	t.wg.Go(t.flushLoop)
	for range resolvers {
		t.wg.Go(t.resolveLoop)
	}
	return t
}

func (t *tracker) shard(user string) *shard {
	return &t.shards[maphash.String(t.seed, user)%cursorShards]
}

// entry returns the cursor of a user in memory, and makes it if it is not there. It returns nil if the memory is full
// of cursors that are not written. The caller holds the lock of the shard.
func (h *shard) entry(user, with string) (d *doc, e *entry, created bool) {
	now := time.Now()
	d = h.docs[user]
	if d == nil {
		if len(h.docs) >= shardDocs {
			h.dropIdle(now.Add(time.Hour))
			if len(h.docs) >= shardDocs {
				return nil, nil, false
			}
		}
		d = &doc{user: user, entries: make(map[string]*entry)}
		h.docs[user] = d
	}
	d.used = now
	if e = d.entries[with]; e == nil {
		e, created = &entry{Cursor: kv.Cursor{With: with}, written: kv.Cursor{With: with}}, true
		d.entries[with] = e
	}
	return d, e, created
}

// dropIdle forgets documents that have not been used since idleCursors before now, and are written.
func (h *shard) dropIdle(now time.Time) {
	for user, d := range h.docs {
		if d.due.IsZero() && !d.writing && now.Sub(d.used) > idleCursors {
			delete(h.docs, user)
		}
	}
}

// mark notes that a document is to be written after a delay. The caller holds the lock of the shard.
func (h *shard) mark(d *doc, delay time.Duration) {
	if due := time.Now().Add(delay); d.due.IsZero() || due.Before(d.due) {
		d.due = due
	}
	if !d.listed {
		d.listed = true
		h.dirty = append(h.dirty, d)
	}
}

// merge merges a change into a cursor in memory.
func (t *tracker) merge(user string, change kv.Cursor) {
	h := t.shard(user)
	h.mu.Lock()
	defer h.mu.Unlock()
	d, e, created := h.entry(user, change.With)
	if d == nil {
		return
	}
	before := e.Cursor
	e.Cursor = before.Merge(change)
	onlyLast := before
	onlyLast.Last = e.Last
	switch {
	case e.Cursor == before:
	case e.Cursor == onlyLast && !created:
		h.mark(d, lazyFlush)
	default:
		h.mark(d, flushEvery)
	}
}

// committed notes the newest dialogue of a conversation.
func (t *tracker) committed(p kv.Pair, last uint64) {
	t.merge(p.A, kv.Cursor{With: p.B, Last: last})
	t.merge(p.B, kv.Cursor{With: p.A, Last: last})
}

// advance moves the cursor of a user, up to the newest dialogue of the conversation.
func (t *tracker) advance(user, with string, got, read uint64) {
	h := t.shard(user)
	h.mu.Lock()
	if d := h.docs[user]; d != nil {
		if e := d.entries[with]; e != nil && e.loaded {
			if got <= e.Got && read <= e.Read {
				h.mu.Unlock()
				return
			}
			if got <= e.Last {
				h.mu.Unlock()
				t.apply(user, with, got, read)
				return
			}
		}
	}
	h.mu.Unlock()
	if user == with || !kv.ValidID(user) || !kv.ValidID(with) {
		return
	}
	t.backlog.add(move{user, with}, got, read)
}

// apply moves a cursor that is loaded, up to the newest dialogue, and reports that.
func (t *tracker) apply(user, with string, got, read uint64) {
	h := t.shard(user)
	h.mu.Lock()
	d := h.docs[user]
	if d == nil || d.entries[with] == nil {
		h.mu.Unlock()
		return
	}
	e := d.entries[with]
	before := e.Cursor
	e.Got = max(e.Got, min(got, e.Last))
	e.Read = max(e.Read, min(read, e.Last))
	after := e.Cursor
	if after != before {
		h.mark(d, flushEvery)
	}
	h.mu.Unlock()
	if after == before {
		return
	}
	t.merge(with, kv.Cursor{With: user, Last: after.Last, PeerGot: after.Got, PeerRead: after.Read})
	moved := func(after, before uint64) uint64 {
		if after == before {
			return 0
		}
		return after
	}
	t.s.opts.Advanced(user, with, moved(after.Got, before.Got), moved(after.Read, before.Read))
}

// inMemory merges the cursors in memory into those of a document.
func (t *tracker) inMemory(user string, cursors map[string]kv.Cursor) {
	h := t.shard(user)
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.docs[user]
	if d == nil {
		return
	}
	for with, e := range d.entries {
		stored, ok := cursors[with]
		if !ok {
			stored = kv.Cursor{With: with}
		}
		cursors[with] = e.Cursor.Merge(stored)
	}
}

// flushLoop writes documents when they are due.
func (t *tracker) flushLoop() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	swept := time.Now()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		case <-t.kick:
		}
		now := time.Now()
		if err := t.flush(t.ctx, now); err != nil && t.ctx.Err() == nil {
			t.s.opts.Log.Warn("cursors cannot be written", "err", err)
		}
		if now.Sub(swept) > idleCursors/10 {
			swept = now
			for i := range t.shards {
				h := &t.shards[i]
				h.mu.Lock()
				h.dropIdle(now)
				h.mu.Unlock()
			}
		}
	}
}

// flush writes the documents that are due by now. It returns the first error; what failed is due again.
func (t *tracker) flush(ctx context.Context, now time.Time) error {
	var due []*doc
	for i := range t.shards {
		h := &t.shards[i]
		h.mu.Lock()
		kept := h.dirty[:0]
		for _, d := range h.dirty {
			if d.due.After(now) {
				kept = append(kept, d)
				continue
			}
			d.listed, d.writing, d.due = false, true, time.Time{}
			due = append(due, d)
		}
		clear(h.dirty[len(kept):])
		h.dirty = kept
		h.mu.Unlock()
	}
	if len(due) == 0 {
		return nil
	}
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	queue := make(chan *doc)
	for range min(flushers, len(due)) {
		wg.Go(func() {
			for d := range queue {
				if err := t.write(ctx, d); err != nil {
					once.Do(func() { first = fmt.Errorf("write the cursors of %s: %w", d.user, err) })
				}
			}
		})
	}
	for _, d := range due {
		queue <- d
	}
	close(queue)
	wg.Wait()
	return first
}

// write writes a document. After an error it is due again.
func (t *tracker) write(ctx context.Context, d *doc) error {
	h := t.shard(d.user)
	var changes []kv.Cursor
	h.mu.Lock()
	for _, e := range d.entries {
		if e.Cursor != e.written {
			changes = append(changes, e.Cursor)
		}
	}
	h.mu.Unlock()
	var err error
	if len(changes) > 0 {
		ctx, cancel := context.WithTimeout(ctx, cursorTimeout)
		err = t.s.opts.Cursors.Advance(ctx, d.user, changes)
		cancel()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.writing = false
	if h.docs[d.user] != d { // forgotten by reset meanwhile
		return err
	}
	if err != nil {
		h.mark(d, flushEvery)
		return err
	}
	for _, c := range changes {
		e := d.entries[c.With]
		e.written = e.written.Merge(c)
	}
	return nil
}

// flushUser writes the document of a user at once.
func (t *tracker) flushUser(user string) {
	h := t.shard(user)
	h.mu.Lock()
	d := h.docs[user]
	if d == nil || d.due.IsZero() {
		h.mu.Unlock()
		return
	}
	h.mark(d, 0)
	h.mu.Unlock()
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// close settles what is in the background, and writes all documents.
func (t *tracker) close(ctx context.Context) error {
	t.backlog.close(ctx)
	t.cancel()
	t.wg.Wait()
	return t.flush(ctx, time.Now().Add(2*lazyFlush))
}
