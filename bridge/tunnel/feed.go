package tunnel

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"imctl/bridge/delivery"
	"imctl/bridge/recovery"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Conversations are what a feed reads of the kept conversations. talk.Service is one.
type Conversations interface {
	// Cursors returns how far a user has come, by the id of the friend.
	Cursors(ctx context.Context, user string) (map[string]kv.Cursor, error)
	// Undelivered returns the users in whose conversations with a user no client of that user has the newest dialogue, by
	// its cursors.
	Undelivered(ctx context.Context, user string, r kv.Roster, cursors map[string]kv.Cursor) ([]string, error)
	// TalksOf returns the conversations of a user with these others that have dialogues.
	TalksOf(ctx context.Context, user string, others []string, cursors map[string]kv.Cursor) ([]talk.Talk, error)
	// Flush writes the cursors of a user.
	Flush(user string)
	// History returns a part of a conversation as a user sees it.
	History(ctx context.Context, user, with string, r kv.Range) (kv.Page, error)
}

// feed hands kept dialogues to a session that does not take part in kept conversations, as plain dialogues. After the
// login these are the dialogues that no client of the user has, and from then on all of its friends. The feed writes the
// dialogues of one conversation in the order of their numbers and without gaps. If one does not fit, or is missing, the
// feed reads the rest of the conversation from the store, as fast as the client reads it.
type feed struct {
	s    *Session
	room atomic.Pointer[chan struct{}] // has an element after dialogues were written; nil: nothing was behind yet

	mu      sync.Mutex // guards the fields below
	sent    map[string]uint64
	behind  map[string]behind // conversations that are read from the store
	working bool              // a goroutine reads them
	passed  map[string]passed // by friend; see pass.go
}

// behind is a conversation that a feed reads from the store.
type behind struct {
	since  time.Time
	first  uint64 // the first dialogue that came live; 0: none
	newest uint64 // the newest one
	base   uint64 // what the user had before the session joined, if based
	based  bool
	echoes []uint64 // those that other sessions of the user have sent, and that this one wants to see
	// early are dialogues that came live before earlier ones, which may come in a moment from another node.
	early []delivery.Kept
}

// add notes a dialogue that came live.
func (b behind) add(k delivery.Kept) behind {
	if b.first == 0 || k.N < b.first {
		b.first = k.N
	}
	b.newest = max(b.newest, k.N)
	if k.Own && k.Plain != nil && len(b.echoes) < maxEchoes {
		b.echoes = append(b.echoes, k.N)
	}
	if len(b.early) < maxEarly {
		k.Frame, k.Plain = nil, bytes.Clone(k.Plain)
		b.early = append(b.early, k)
	}
	return b
}

const (
	feedFirst = 4         // dialogues of the first page, which may be large
	feedPage  = 50        // dialogues of a page
	feedBytes = 128 << 10 // bytes of their payloads, roughly
	maxEchoes = 64
	maxEarly  = 64
	feedRetry = time.Second
)

// start looks for dialogues that no client of the user has yet. roster and base are those of opening.
func (f *feed) start(roster kv.Roster, base map[string]kv.Cursor) {
	if f.s.keep || f.s.tunnel.opts.Talks == nil {
		return
	}
	f.s.tunnel.refreshes.Go(func() {
		defer recovery.Log(f.s.tunnel.opts.Logger, "undelivered dialogues")
		ctx, cancel := f.context()
		defer cancel()
		undelivered, err := f.s.tunnel.opts.Talks.Undelivered(ctx, f.s.user(), roster, base)
		if err != nil {
			if ctx.Err() == nil {
				f.s.tunnel.opts.Logger.Warn("look for undelivered dialogues", "user", f.s.user(), "err", err)
			}
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, with := range undelivered {
			if _, live := f.sent[with]; !live {
				b := f.behind[with]
				b.based, b.base = true, max(base[with].Got, base[with].Forgot)
				f.fallBehind(with, b)
			}
		}
	})
}

// context returns a context that ends with the session.
func (f *feed) context() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-f.s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// take takes a dialogue that was just stored.
func (f *feed) take(k delivery.Kept) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sent, known := f.sent[k.With]
	skipped := f.announced(k)
	if known && k.N <= sent {
		switch {
		case k.Own && k.Plain != nil: // catchUp has read it from the store before, and did not know of the echo
			f.s.Notify(k.Plain)
		case skipped:
			f.queue(k.With, k.N, false, k.Plain)
		}
		return
	}
	if b, ok := f.behind[k.With]; ok {
		if b = b.add(k); known {
			f.closeGap(k.With, b)
		} else {
			f.fallBehind(k.With, b)
		}
		return
	}
	switch {
	case known && k.N == sent+1 && f.queue(k.With, k.N, k.Own, k.Plain):
		f.sent[k.With] = k.N
	default:
		f.fallBehind(k.With, behind{}.add(k))
	}
}

// closeGap writes the dialogues of a conversation that is behind which have come live and are next. It needs no store,
// which may have no leader. Called with mu held.
func (f *feed) closeGap(with string, b behind) {
	sent := f.sent[with]
	for {
		i := slices.IndexFunc(b.early, func(k delivery.Kept) bool { return k.N == sent+1 })
		if i < 0 || !f.queue(with, sent+1, b.early[i].Own, b.early[i].Plain) {
			break
		}
		sent++
	}
	f.sent[with] = sent
	b.early = slices.DeleteFunc(b.early, func(k delivery.Kept) bool { return k.N <= sent })
	if sent >= b.newest {
		delete(f.behind, with)
		return
	}
	f.fallBehind(with, b)
}

// queue queues a dialogue for the session. It returns false if there is no room.
func (f *feed) queue(with string, n uint64, own bool, plain []byte) bool {
	switch {
	case own && plain == nil:
		return true
	case own:
		f.s.Notify(plain)
		return true
	}
	return f.s.conn.add(plain, outgoing{dialogue: true, kept: true, with: with, n: n}, f.s.tunnel.opts.Sessions.Buffer) == nil
}

// fallBehind has a conversation read from the store. Called with mu held.
func (f *feed) fallBehind(with string, b behind) {
	if f.behind == nil {
		f.behind, f.sent = make(map[string]behind), make(map[string]uint64)
		room := make(chan struct{}, 1)
		f.room.Store(&room)
	}
	if b.since.IsZero() {
		b.since = time.Now()
	}
	f.behind[with] = b
	if !f.working {
		f.working = true
		f.s.tunnel.refreshes.Go(f.run)
	}
}

// wake is called after dialogues were written. It takes no lock: a caller of take may cause the call.
func (f *feed) wake() {
	room := f.room.Load()
	if room == nil {
		return
	}
	select {
	case *room <- struct{}{}:
	default:
	}
}

// run reads the conversations that are behind, until none is.
func (f *feed) run() {
	defer recovery.Log(f.s.tunnel.opts.Logger, "feed")
	ctx, cancel := f.context()
	defer cancel()
	for {
		with, ok := f.next()
		if !ok {
			return
		}
		err := f.catchUp(ctx, with)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.s.tunnel.opts.Logger.Warn("read a conversation", "session", f.s.id, "err", err)
			select {
			case <-time.After(feedRetry):
			case <-ctx.Done():
				return
			}
		}
	}
}

// next returns a conversation that is behind.
func (f *feed) next() (with string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for with := range f.behind {
		return with, true
	}
	f.working = false
	return "", false
}

// begin returns the number after which a conversation that is behind goes on.
func (f *feed) begin(ctx context.Context, with string) (uint64, error) {
	f.mu.Lock()
	sent, known := f.sent[with]
	based := f.behind[with].based
	f.mu.Unlock()
	if known {
		return sent, nil
	}
	var cursor kv.Cursor
	if !based {
		all, err := f.s.tunnel.opts.Talks.Cursors(ctx, f.s.user())
		if err != nil {
			return 0, err
		}
		cursor = all[with]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.behind[with]
	sent = max(cursor.Got, cursor.Forgot)
	if b.based {
		sent = b.base
	}
	if b.first != 0 { // another client of the user may have it already, but it came after this session began
		sent = min(sent, b.first-1)
	}
	f.sent[with] = sent
	return sent, nil
}

// catchUp writes a conversation from the store until it is no longer behind.
func (f *feed) catchUp(ctx context.Context, with string) error {
	talks, user := f.s.tunnel.opts.Talks, f.s.user()
	sent, err := f.begin(ctx, with)
	if err != nil {
		return err
	}
	for limit := feedFirst; ; {
		page, err := talks.History(ctx, user, with, kv.Range{After: sent, Forward: true, Limit: limit})
		if err != nil {
			return err
		}
		limit = pageOf(page.Dialogues)
		for i := range page.Dialogues {
			if err := f.write(ctx, with, &page.Dialogues[i]); err != nil {
				return err
			}
		}
		f.mu.Lock()
		b, still := f.behind[with]
		if sent = f.sent[with]; !still || len(page.Dialogues) == 0 || sent >= b.newest && sent >= page.Last {
			// What cannot be read any more is never sent.
			f.sent[with] = max(sent, b.newest)
			delete(f.behind, with)
			f.mu.Unlock()
			return nil
		}
		f.mu.Unlock()
	}
}

// pageOf returns how many dialogues the next page may have, by the size of those of the page before: a session that does
// not read holds a page.
func pageOf(dialogues []kv.Dialogue) int {
	bytes := 1
	for i := range dialogues {
		bytes += len(dialogues[i].Payload)
	}
	return min(max(feedBytes*max(len(dialogues), 1)/bytes, 1), feedPage)
}

// write writes a dialogue of the store, unless it was written since it was read. It waits for room.
func (f *feed) write(ctx context.Context, with string, d *kv.Dialogue) error {
	for {
		err := f.tryWrite(with, d)
		if err == nil {
			f.s.member.FlushSoon()
			return nil
		}
		if err != errFull && err != errBytes {
			<-ctx.Done() // the connection has failed, and the session ends
			return ctx.Err()
		}
		select {
		case <-*f.room.Load():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryWrite is write without the wait.
func (f *feed) tryWrite(with string, d *kv.Dialogue) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.N <= f.sent[with] {
		return nil
	}
	own := d.From == f.s.user()
	var plain []byte // nil also for the user's own: the session that sent it has it
	if !own && d.Deletes == 0 && !d.Deleted && !d.Live && !f.skips(with, d) {
		plain = wire.AppendDialogue(nil, d.ID, d.From, d.Payload)
	}
	if err := f.s.conn.add(plain, outgoing{dialogue: true, kept: true, with: with, n: d.N}, f.s.tunnel.opts.Sessions.Buffer); err != nil {
		return err
	}
	f.sent[with] = d.N
	if own && slices.Contains(f.behind[with].echoes, d.N) {
		f.s.Notify(wire.AppendEcho(nil, d.ID, d.From, with, d.Payload))
	}
	return nil
}
