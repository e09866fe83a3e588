package talk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// cursor returns a cursor as another node sees it in the document.
func cursor(t testing.TB, s *Service, user, with string) kv.Cursor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := s.opts.Cursors.Get(ctx, user)
	if err != nil {
		return kv.Cursor{}
	}
	return all[with]
}

func TestCursors(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	a := new(advances)
	s := startService(t, url, Options{Advanced: a.advanced, Receipts: true})
	for i := range 5 {
		stored(t, s, idB, say(idA, fmt.Sprint(i)))
	}
	s.Got(idB, idA, 3)
	wait(t, "got", func() bool { return a.has("f 0 3 0") })
	s.Read(idB, idA, 2)
	wait(t, "read", func() bool { return a.has("f 0 0 2") })
	s.Got(idB, idA, 1)
	s.Got(idB, idA, 3)
	s.Read(idB, idA, 1<<60)
	wait(t, "clamped", func() bool { return a.has("f 0 5 5") })
	a.mu.Lock()
	if got := strings.Join(a.all, ", "); got != "f 0 3 0, f 0 0 2, f 0 5 5" {
		t.Errorf("advanced: %s", got)
	}
	a.mu.Unlock()
	want := kv.Cursor{With: idA, Last: 5, Got: 5, Read: 5}
	if all, err := s.Cursors(t.Context(), idB); err != nil || all[idA] != want {
		t.Errorf("before the write: %+v, %v", all[idA], err)
	}
	s.Flush(idB)
	wait(t, "written", func() bool { return cursor(t, s, idB, idA) == want })
	wait(t, "written for the friend", func() bool {
		return cursor(t, s, idA, idB) == kv.Cursor{With: idB, Last: 5, PeerGot: 5, PeerRead: 5}
	})

	// Another node, which knows neither cursor nor conversation, reports only what is new.
	b := new(advances)
	other := startService(t, url, Options{Advanced: b.advanced})
	other.Read(idB, idA, 4)
	other.Got(idA, idB, 4)
	wait(t, "got on another node", func() bool { return b.has("0 f 4 0") })
	stored(t, s, idB, say(idA, "6"))
	other.Read(idB, idA, 6)
	wait(t, "read on another node", func() bool { return b.has("f 0 6 6") })
	other.Seen(idA, idB, 6)
	other.Got(idA, idB, 6)
	other.Got(idA, idB, 5)
	if !b.has("0 f 6 0") { // at once, since nothing is read
		t.Error("a dialogue that a frame has shown must be read")
	}
	closeService(t, other)
	if got := strings.Join(b.all, ", "); got != "0 f 4 0, f 0 6 6, 0 f 6 0" {
		t.Errorf("advanced: %s", got)
	}
	closeService(t, s)
	if c := cursor(t, s, idA, idB); c != (kv.Cursor{With: idB, Last: 6, Got: 6, PeerGot: 6, PeerRead: 6}) {
		t.Errorf("after both have closed: %+v", c)
	}

	// What cannot be a conversation leaves nothing in memory.
	s = startService(t, url, Options{})
	s.Got(idA, "x", 1)
	s.Got(idA, idC, 1)
	s.Got(idA, idA, 1)
	closeService(t, s)
	if d := s.tracker.shard(idA).docs[idA]; d != nil {
		t.Errorf("there are cursors: %v", d.entries)
	}
}

// A cursor that cannot be written while NATS is away is written later.
func TestCursorsWithoutNATS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := natstest.Run(t, dir, -1)
	url, port := srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port
	a := new(advances)
	s := startService(t, url, Options{Advanced: a.advanced})
	stored(t, s, idB, say(idA, "1"))
	stored(t, s, idB, say(idA, "2"))
	s.Got(idB, idA, 1)
	wait(t, "got", func() bool { return a.has("f 0 1 0") })
	natstest.Stop(srv)
	s.Read(idB, idA, 2)
	wait(t, "read", func() bool { return a.has("f 0 2 2") })
	s.Flush(idB)
	srv = natstest.Run(t, dir, port)
	t.Cleanup(func() { natstest.Stop(srv) })
	wait(t, "written", func() bool { return cursor(t, s, idB, idA) == kv.Cursor{With: idA, Last: 2, Got: 2, Read: 2} })
	closeService(t, s)
}

// The memory for cursors is bounded, also while none can be written.
func TestCursorMemory(t *testing.T) {
	t.Parallel()
	h := &shard{docs: make(map[string]*doc)}
	for i := range shardDocs + 10 {
		d, _, _ := h.entry(fmt.Sprint(i), idA)
		if (d != nil) != (i < shardDocs) {
			t.Fatalf("user %d: %v", i, d)
		}
		if d != nil {
			h.mark(d, flushEvery)
		}
	}
	h.docs["7"].due = time.Time{} // written
	if d, _, _ := h.entry("next", idA); d == nil || h.docs["7"] != nil {
		t.Error("a written document keeps its place")
	}
	h.docs["8"].due, h.docs["9"].due = time.Time{}, time.Time{}
	h.docs["8"].used = time.Now().Add(-2 * idleCursors)
	h.dropIdle(time.Now())
	if h.docs["8"] != nil || h.docs["9"] == nil {
		t.Error("not the unused document is dropped")
	}
}

func TestGotAllocations(t *testing.T) {
	a := new(advances)
	s := startService(t, newURL(t), Options{Advanced: a.advanced})
	stored(t, s, idB, say(idA, "1"))
	s.Got(idB, idA, 1)
	wait(t, "got", func() bool { return a.has("f 0 1 0") })
	if n := testing.AllocsPerRun(1000, func() { s.Got(idB, idA, 1) }); n > 0.5 {
		t.Errorf("%g allocations for a cursor that does not move", n)
	}
}

func TestTalks(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	a := new(advances)
	s := startService(t, url, Options{Advanced: a.advanced})
	ctx := t.Context()
	stored(t, s, idB, say(idA, "1"))
	hidden := say(idA, "2")
	hidden.Hidden = true
	stored(t, s, idB, hidden)
	edit := say(idC, "c2")
	stored(t, s, idA, say(idC, "c1"))
	edit.Deletes = 1
	stored(t, s, idA, edit)
	s.Read(idB, idA, 1)
	wait(t, "read", func() bool { return a.has("f 0 1 1") })
	all, err := s.Talks(ctx, idA, []string{idB, strings.Repeat("2", 32)})
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	// idC is no friend any more, and comes from the cursors.
	if c := all[1]; c.With != idB || c.Last != 2 || c.PeerGot != 1 || c.PeerRead != 0 || string(c.Entry.Payload) != `"payload of 2"` {
		t.Errorf("%+v %+v", c.Cursor, c.Entry)
	}
	if c := all[0]; c.With != idC || c.Last != 2 || c.Entry.Deletes != 1 {
		t.Errorf("%+v %+v", c.Cursor, c.Entry)
	}
	all, err = s.Talks(ctx, idB, nil)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	if c := all[0]; c.With != idA || c.Got != 1 || c.Read != 1 || !c.Entry.Deleted || string(c.Entry.Payload) != `""` {
		t.Errorf("%+v %+v", c.Cursor, c.Entry)
	}
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	var b backlog
	b.init()
	m := move{"a", "b"}
	b.add(m, 5, 0)
	b.add(m, 3, 2)
	b.add(move{"a", "c"}, 1, 1)
	if got, n, ok := b.next(); got != m || n != [2]uint64{5, 2} || !ok {
		t.Errorf("%v %v", got, n)
	}
	b.done()
	for i := range 2 * maxBacklog {
		b.add(move{"x", fmt.Sprint(i)}, 1, 0)
	}
	if len(b.moves) != maxBacklog || len(b.order) != maxBacklog {
		t.Errorf("%d moves wait", len(b.moves))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.close(ctx)
	if _, _, ok := b.next(); ok || !errors.Is(ctx.Err(), context.Canceled) {
		t.Error("it goes on after its end")
	}
}
