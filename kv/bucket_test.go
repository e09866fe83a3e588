package kv

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
		if err != nil && !errors.Is(err, errKeyNotFound) {
			t.Fatal(err)
		}
		return e.revision
	}
	last, err := b.write(ctx, putAt("user.x", []byte("1"), 0), putAt("user.y", []byte("1"), 0), put("user.z", nil))
	if err != nil {
		t.Fatal(err)
	}
	if x, y, z := revision("user.x"), revision("user.y"), revision("user.z"); x != last-2 || y != last-1 || z != last {
		t.Errorf("revisions %d, %d, %d of a batch whose last is %d", x, y, z, last)
	}
	for name, writes := range map[string][]write{
		"the first is out of date": {putAt("user.x", nil, last), putAt("user.y", nil, last-1)},
		"the last is out of date":  {putAt("user.x", nil, last-2), putAt("user.y", nil, 0)},
		"one is there already":     {put("user.new", nil), putAt("user.z", nil, 0)},
		"one is not there":         {put("user.new", nil), putAt("user.other", nil, 1)},
		"one alone":                {putAt("user.x", nil, last)},
	} {
		if _, err := b.write(ctx, writes...); !conflicting(err) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
	if x, y, z := revision("user.x"), revision("user.y"), revision("user.z"); x != last-2 || y != last-1 || z != last {
		t.Errorf("a batch that failed left revisions %d, %d, %d", x, y, z)
	}
	if revision("user.new") != 0 {
		t.Error("a batch that failed left a key")
	}
	// A marker's revision is what its successor expects.
	if last, err = b.write(ctx, putAt("user.x", nil, last-2).asMarker(), put("user.y", nil)); err != nil {
		t.Fatal(err)
	}
	e, err := b.get(ctx, "user.x", false)
	if err != nil || !e.deleted || e.revision != last-1 {
		t.Errorf("the marker is %+v, %v", e, err)
	}
	if _, err := b.write(ctx, putAt("user.x", nil, 0), put("user.y", nil)); !conflicting(err) {
		t.Errorf("over a marker, expecting nothing: %v", err)
	}
	if _, err := b.write(ctx, putAt("user.x", nil, e.revision), put("user.y", nil)); err != nil {
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
	if _, err := b.write(ctx, put("user.x", nil), put("user.y", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("a batch without a place: %v", err)
	}
	<-b.batches
	if _, err := b.write(t.Context(), put("user.x", nil), put("user.y", nil)); err != nil {
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
		revision, err := b.write(ctx, putAt(key, nil, 0))
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	has := func(key string) bool {
		_, err := b.get(ctx, key, false)
		return !errors.Is(err, errKeyNotFound)
	}
	old := write("work.a.1")
	write("work.a.2")
	write("work.b.1")
	if err := b.purge(ctx, "work.a.1", old); err != nil || !has("work.a.1") {
		t.Errorf("purging before a key took it away, %v", err)
	}
	if err := b.purge(ctx, "work.a.1", old+1); err != nil || has("work.a.1") {
		t.Errorf("purging past a key left it there, %v", err)
	}
	if err := b.purge(ctx, "work.a.*", 0); err != nil || has("work.a.2") || !has("work.b.1") {
		t.Errorf("purging a.*: a.2 %v, b.1 %v, %v", has("work.a.2"), has("work.b.1"), err)
	}
}

// Both ways to read a key find the same in it.
func TestGetNearestAndLeader(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	if _, err := b.write(ctx, put("user.value", []byte(`{"a":"ü"}`)), put("user.empty", nil), put("user.marker", nil).asMarker()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.write(ctx, put("user.alone", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"user.value", "user.empty", "user.marker", "user.alone"} {
		near, err := b.getNearest(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		far, err := b.getLeader(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if near.key != far.key || string(near.value) != string(far.value) || near.revision != far.revision ||
			near.deleted != far.deleted || near.deleted != (key == "user.marker") || !near.written.Equal(far.written) {
			t.Errorf("the nearest has %+v, the leader %+v", near, far)
		}
	}
	if _, err := b.getNearest(ctx, "none"); !errors.Is(err, errKeyNotFound) {
		t.Errorf("nearest: %v", err)
	}
	if _, err := b.getLeader(ctx, "none"); !errors.Is(err, errKeyNotFound) {
		t.Errorf("leader: %v", err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	for i := range 10 {
		for _, key := range []string{"user.p.", "user.q."} {
			if _, err := b.write(ctx, put(fmt.Sprint(key, i), []byte{byte(i)})); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err := b.nextPage(ctx, "user.p.*", 0, 4)
	if err != nil || len(p.entries) != 4 || p.pending != 6 || p.entries[3].key != "user.p.3" {
		t.Fatalf("the first page is %+v, %v", p, err)
	}
	if p, err = b.nextPage(ctx, "user.p.*", p.last(), 100); err != nil || len(p.entries) != 6 || p.pending != 0 || p.entries[5].key != "user.p.9" {
		t.Errorf("the second page is %+v, %v", p, err)
	}
	if p, err = b.nextPage(ctx, "user.p.*", p.last(), 100); err != nil || len(p.entries) != 0 || p.pending != 0 {
		t.Errorf("the third page is %+v, %v", p, err)
	}
	if p, err = b.nextKeys(ctx, 0, 5); err != nil || len(p.entries) != 5 || p.pending == 0 || p.entries[4].key != "user.p.2" {
		t.Errorf("walking: %+v, %v", p, err)
	}
	for _, key := range []string{"user.p.0", "user.p.3", "user.q.3", "user.q.9"} { // written anew, they leave gaps behind
		if _, err := b.write(ctx, put(key, nil)); err != nil {
			t.Fatal(err)
		}
	}
	walked, after := "", uint64(0)
	for pages := 0; pages < 10; pages++ {
		p, err := b.nextKeys(ctx, after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.entries {
			walked, after = walked+strings.TrimPrefix(e.key, "user.")+" ", e.revision
		}
		if p.pending == 0 {
			break
		}
	}
	if want := "q.0 p.1 q.1 p.2 q.2 p.4 q.4 p.5 q.5 p.6 q.6 p.7 q.7 p.8 q.8 p.9 p.0 p.3 q.3 q.9 "; walked != want {
		t.Errorf("walked by %s, want %s", walked, want)
	}
	e, err := b.nextKey(ctx, "user.q.*", p.last())
	if err != nil || e.key != "user.q.2" || string(e.value) != "\x02" {
		t.Errorf("the next q is %+v, %v", e, err)
	}
	if _, err := b.nextKey(ctx, "user.q.*", 24); !errors.Is(err, errKeyNotFound) {
		t.Errorf("after the last: %v", err)
	}
	if p, err = b.firstPage(ctx, "user.q.*", 4); err != nil || len(p.entries) != 4 || p.pending != 6 || p.entries[3].key != "user.q.4" {
		t.Errorf("matching q: %+v, %v", p, err)
	}
	if p, err = b.firstPage(ctx, "user.none.*", 4); err != nil || len(p.entries) != 0 || p.pending != 0 {
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

func TestCompareAndSwap(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	ctx := testContext(t)
	if _, err := b.write(ctx, put("user.k", nil)); err != nil {
		t.Fatal(err)
	}
	tries := 0
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		tries++
		_, err := b.write(ctx, putAt("user.k", nil, 0))
		return err
	})
	if !errors.Is(err, ErrConflict) || tries != maxAttempts {
		t.Errorf("%d tries, %v", tries, err)
	}
	tries = 0
	if err := compareAndSwap(ctx, func(context.Context) error { tries++; return ErrSelf }); !errors.Is(err, ErrSelf) || tries != 1 {
		t.Errorf("%d tries, %v", tries, err)
	}
}
