package kv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// What the stores build on: batches are all or nothing, their revisions follow each other, and each
// key has its own expectation.
func TestBatches(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	revision := func(key string) uint64 {
		t.Helper()
		e, err := b.get(ctx, key, false)
		if err != nil && !errors.Is(err, errNoKey) {
			t.Fatal(err)
		}
		return e.revision
	}
	last, err := b.write(ctx, putAt("x", []byte("1"), 0), putAt("y", []byte("1"), 0), put("z", nil))
	if err != nil {
		t.Fatal(err)
	}
	if x, y, z := revision("x"), revision("y"), revision("z"); x != last-2 || y != last-1 || z != last {
		t.Errorf("revisions %d, %d, %d of a batch whose last is %d", x, y, z, last)
	}
	for name, writes := range map[string][]write{
		"the first is out of date": {putAt("x", nil, last), putAt("y", nil, last-1)},
		"the last is out of date":  {putAt("x", nil, last-2), putAt("y", nil, 0)},
		"one is there already":     {put("new", nil), putAt("z", nil, 0)},
		"one is not there":         {put("new", nil), putAt("other", nil, 1)},
		"one alone":                {putAt("x", nil, last)},
	} {
		if _, err := b.write(ctx, writes...); !conflicting(err) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
	if x, y, z := revision("x"), revision("y"), revision("z"); x != last-2 || y != last-1 || z != last {
		t.Errorf("a batch that failed left revisions %d, %d, %d", x, y, z)
	}
	if revision("new") != 0 {
		t.Error("a batch that failed left a key")
	}
	// A marker's revision is what its successor expects.
	if last, err = b.write(ctx, putAt("x", nil, last-2).asMarker(time.Hour), put("y", nil)); err != nil {
		t.Fatal(err)
	}
	e, err := b.get(ctx, "x", false)
	if err != nil || !e.deleted || e.revision != last-1 {
		t.Errorf("the marker is %+v, %v", e, err)
	}
	if _, err := b.write(ctx, putAt("x", nil, 0), put("y", nil)); !conflicting(err) {
		t.Errorf("over a marker, expecting nothing: %v", err)
	}
	if _, err := b.write(ctx, putAt("x", nil, e.revision), put("y", nil)); err != nil {
		t.Errorf("over a marker, expecting it: %v", err)
	}
}

// A batch waits for its place, and three nodes' batches stay below the server's limit of 50.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	n := cap(b.batches)
	if 3*n > 50 {
		t.Errorf("%d batches at once", n)
	}
	for range n {
		b.batches <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.write(ctx, put("x", nil), put("y", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("a batch without a place: %v", err)
	}
	<-b.batches
	if _, err := b.write(t.Context(), put("x", nil), put("y", nil)); err != nil {
		t.Errorf("a batch with the last place: %v", err)
	}
	if len(b.batches) != n-1 {
		t.Errorf("%d places are taken, want %d", len(b.batches), n-1)
	}
}

// A purge up to a revision spares what was written since.
func TestPurge(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	write := func(key string) uint64 {
		t.Helper()
		revision, err := b.write(ctx, put(key, nil))
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	has := func(key string) bool {
		_, err := b.get(ctx, key, false)
		return !errors.Is(err, errNoKey)
	}
	old := write("a.1")
	write("a.2")
	write("b.1")
	if err := b.purge(ctx, "a.1", old); err != nil || !has("a.1") {
		t.Errorf("purging before a key took it away, %v", err)
	}
	if err := b.purge(ctx, "a.1", old+1); err != nil || has("a.1") {
		t.Errorf("purging past a key left it there, %v", err)
	}
	if err := b.purge(ctx, "a.*", 0); err != nil || has("a.2") || !has("b.1") {
		t.Errorf("purging a.*: a.2 %v, b.1 %v, %v", has("a.2"), has("b.1"), err)
	}
}

// Both ways to read a key find the same in it.
func TestGetNearestAndLeader(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	if _, err := b.write(ctx, put("value", []byte(`{"a":"ü"}`)), put("empty", nil), put("marker", nil).asMarker(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.write(ctx, put("alone", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"value", "empty", "marker", "alone"} {
		near, err := b.getNearest(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		far, err := b.getLeader(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if near.key != far.key || string(near.value) != string(far.value) || near.revision != far.revision ||
			near.deleted != far.deleted || near.deleted != (key == "marker") || !near.written.Equal(far.written) {
			t.Errorf("the nearest has %+v, the leader %+v", near, far)
		}
	}
	if _, err := b.getNearest(ctx, "none"); !errors.Is(err, errNoKey) {
		t.Errorf("nearest: %v", err)
	}
	if _, err := b.getLeader(ctx, "none"); !errors.Is(err, errNoKey) {
		t.Errorf("leader: %v", err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	for i := range 10 {
		for _, key := range []string{"p.", "q."} {
			if _, err := b.write(ctx, put(fmt.Sprint(key, i), []byte{byte(i)})); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err := b.next(ctx, "p.*", 0, 4)
	if err != nil || len(p.entries) != 4 || p.pending != 6 || p.entries[3].key != "p.3" {
		t.Fatalf("the first page is %+v, %v", p, err)
	}
	if p, err = b.next(ctx, "p.*", p.last(), 100); err != nil || len(p.entries) != 6 || p.pending != 0 || p.entries[5].key != "p.9" {
		t.Errorf("the second page is %+v, %v", p, err)
	}
	if p, err = b.next(ctx, "p.*", p.last(), 100); err != nil || len(p.entries) != 0 || p.pending != 0 {
		t.Errorf("the third page is %+v, %v", p, err)
	}
	if p, err = b.walk(ctx, 0, 5); err != nil || len(p.entries) != 5 || p.pending == 0 || p.entries[4].key != "p.2" {
		t.Errorf("walking: %+v, %v", p, err)
	}
	for _, key := range []string{"p.0", "p.3", "q.3", "q.9"} { // written anew, they leave gaps behind
		if _, err := b.write(ctx, put(key, nil)); err != nil {
			t.Fatal(err)
		}
	}
	walked, after := "", uint64(0)
	for pages := 0; pages < 10; pages++ {
		p, err := b.walk(ctx, after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.entries {
			walked, after = walked+e.key+" ", e.revision
		}
		if p.pending == 0 {
			break
		}
	}
	if want := "q.0 p.1 q.1 p.2 q.2 p.4 q.4 p.5 q.5 p.6 q.6 p.7 q.7 p.8 q.8 p.9 p.0 p.3 q.3 q.9 "; walked != want {
		t.Errorf("walked by %s, want %s", walked, want)
	}
	e, err := b.one(ctx, "q.*", p.last())
	if err != nil || e.key != "q.2" || string(e.value) != "\x02" {
		t.Errorf("the next q is %+v, %v", e, err)
	}
	if _, err := b.one(ctx, "q.*", 24); !errors.Is(err, errNoKey) {
		t.Errorf("after the last: %v", err)
	}
	if p, err = b.matching(ctx, "q.*", 4); err != nil || len(p.entries) != 4 || p.pending != 6 || p.entries[3].key != "q.4" {
		t.Errorf("matching q: %+v, %v", p, err)
	}
	if p, err = b.matching(ctx, "none.*", 4); err != nil || len(p.entries) != 0 || p.pending != 0 {
		t.Errorf("matching nothing: %+v, %v", p, err)
	}
}

// A connection that breaks in the middle is an error, and not the end of the list.
func TestReadsFailWithTheirConnection(t *testing.T) {
	t.Parallel()
	srv := startServer(t, t.TempDir(), false)
	nc := connect(t, srv)
	s := openStore(t, nc, Options{})
	mustCreate(t, s, "a", "a")
	srv.Shutdown()
	srv.WaitForShutdown()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := s.Users.List(ctx, ListOptions{}); err == nil {
		t.Error("List ended as if there were nobody")
	}
	if _, err := s.Users.Find(ctx, "a", 50, ""); err == nil {
		t.Error("Find ended as if there were nobody")
	}
	if _, err := s.Users.ByAccount(ctx, "a"); err == nil || errors.Is(err, ErrUserNotFound) {
		t.Errorf("ByAccount: %v", err)
	}
}

func TestSwap(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	if _, err := b.write(ctx, put("k", nil)); err != nil {
		t.Fatal(err)
	}
	tries := 0
	err := swap(ctx, func(ctx context.Context) error {
		tries++
		_, err := b.write(ctx, putAt("k", nil, 0))
		return err
	})
	if !errors.Is(err, ErrConflict) || tries != attempts {
		t.Errorf("%d tries, %v", tries, err)
	}
	tries = 0
	if err := swap(ctx, func(context.Context) error { tries++; return ErrSelf }); !errors.Is(err, ErrSelf) || tries != 1 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	l := newLocks()
	unlock, err := l.lock(t.Context(), "a", "b", "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx, "c", "b", "d"); !errors.Is(err, context.Canceled) {
		t.Errorf("a key that is locked: %v", err)
	}
	unlock()
	for i, stripe := range l.stripes {
		if len(stripe) != 0 {
			t.Errorf("stripe %d is still locked", i)
		}
	}
}
