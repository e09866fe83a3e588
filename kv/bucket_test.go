package kv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The guarantees that the stores need: a batch is written completely or not at all, its revisions are consecutive,
// and each key has its own expected revision.
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
		t.Errorf("the batch has revisions %d, %d and %d, want %d as the last one", x, y, z, last)
	}
	for name, writes := range map[string][]write{
		"the first is out of date": {putAt("user.x", nil, last), putAt("user.y", nil, last-1)},
		"the last is out of date":  {putAt("user.x", nil, last-2), putAt("user.y", nil, 0)},
		"one exists already":       {put("user.new", nil), putAt("user.z", nil, 0)},
		"one is missing":           {put("user.new", nil), putAt("user.other", nil, 1)},
		"a single write":           {putAt("user.x", nil, last)},
	} {
		if _, err := b.write(ctx, writes...); !Conflicting(err) {
			t.Errorf("%s: %v, want a conflict", name, err)
		}
	}
	if x, y, z := revision("user.x"), revision("user.y"), revision("user.z"); x != last-2 || y != last-1 || z != last {
		t.Errorf("the revisions after a failed batch are %d, %d and %d", x, y, z)
	}
	if revision("user.new") != 0 {
		t.Error("a failed batch has written a key")
	}
	// The next write of a key must expect the revision of its delete marker.
	if last, err = b.write(ctx, putAt("user.x", nil, last-2).asMarker(), put("user.y", nil)); err != nil {
		t.Fatal(err)
	}
	e, err := b.get(ctx, "user.x", false)
	if err != nil || !e.deleted || e.revision != last-1 {
		t.Errorf("the delete marker is %+v, %v", e, err)
	}
	if _, err := b.write(ctx, putAt("user.x", nil, 0), put("user.y", nil)); !Conflicting(err) {
		t.Errorf("a write that does not expect the delete marker: %v, want a conflict", err)
	}
	if _, err := b.write(ctx, putAt("user.x", nil, e.revision), put("user.y", nil)); err != nil {
		t.Errorf("a write that expects the delete marker: %v", err)
	}
}

// A batch waits for a slot. The batches of three nodes stay below the server's limit of 50.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	b := newStore(t, Options{}).Users.b
	n := cap(b.batches)
	if 3*n > 50 {
		t.Errorf("%d concurrent batches of three nodes, want at most 50", 3*n)
	}
	for range n {
		b.batches <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.write(ctx, put("user.x", nil), put("user.y", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("a batch without a slot: %v, want %v", err, context.Canceled)
	}
	<-b.batches
	if _, err := b.write(t.Context(), put("user.x", nil), put("user.y", nil)); err != nil {
		t.Errorf("a batch in the last slot: %v", err)
	}
	if len(b.batches) != n-1 {
		t.Errorf("%d slots are in use, want %d", len(b.batches), n-1)
	}
}

// A purge before a revision keeps messages written since.
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
		t.Errorf("a purge before the key's revision removed the key, %v", err)
	}
	if err := b.purge(ctx, "work.a.1", old+1); err != nil || has("work.a.1") {
		t.Errorf("a purge after the key's revision did not remove the key, %v", err)
	}
	if err := b.purge(ctx, "work.a.*", 0); err != nil || has("work.a.2") || !has("work.b.1") {
		t.Errorf("after a purge of a.*: a.2 exists %t, b.1 exists %t, %v", has("work.a.2"), has("work.b.1"), err)
	}
}

// The nearest replica and the leader return the same key.
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
		nearest, err := b.getNearest(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		leader, err := b.getLeader(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if nearest.key != leader.key || string(nearest.value) != string(leader.value) || nearest.revision != leader.revision ||
			nearest.deleted != leader.deleted || nearest.deleted != (key == "user.marker") || !nearest.written.Equal(leader.written) {
			t.Errorf("the nearest replica has %+v, the leader %+v", nearest, leader)
		}
	}
	if _, err := b.getNearest(ctx, "none"); !errors.Is(err, errKeyNotFound) {
		t.Errorf("getNearest of a missing key: %v, want %v", err, errKeyNotFound)
	}
	if _, err := b.getLeader(ctx, "none"); !errors.Is(err, errKeyNotFound) {
		t.Errorf("getLeader of a missing key: %v, want %v", err, errKeyNotFound)
	}
}

func TestScan(t *testing.T) {
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
		t.Errorf("nextKeys = %+v, %v", p, err)
	}
	for _, key := range []string{"user.p.0", "user.p.3", "user.q.3", "user.q.9"} { // rewritten keys leave gaps
		if _, err := b.write(ctx, put(key, nil)); err != nil {
			t.Fatal(err)
		}
	}
	order, after := "", uint64(0)
	for pages := 0; pages < 10; pages++ {
		p, err := b.nextKeys(ctx, after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.entries {
			order, after = order+strings.TrimPrefix(e.key, "user.")+" ", e.revision
		}
		if p.pending == 0 {
			break
		}
	}
	if want := "q.0 p.1 q.1 p.2 q.2 p.4 q.4 p.5 q.5 p.6 q.6 p.7 q.7 p.8 q.8 p.9 p.0 p.3 q.3 q.9 "; order != want {
		t.Errorf("the order of the keys is %s, want %s", order, want)
	}
	e, err := b.nextKey(ctx, "user.q.*", p.last())
	if err != nil || e.key != "user.q.2" || string(e.value) != "\x02" {
		t.Errorf("nextKey = %+v, %v", e, err)
	}
	if _, err := b.nextKey(ctx, "user.q.*", 24); !errors.Is(err, errKeyNotFound) {
		t.Errorf("nextKey after the last key: %v, want %v", err, errKeyNotFound)
	}
	if p, err = b.firstPage(ctx, "user.q.*", 4); err != nil || len(p.entries) != 4 || p.pending != 6 || p.entries[3].key != "user.q.4" {
		t.Errorf("firstPage = %+v, %v", p, err)
	}
	if p, err = b.firstPage(ctx, "user.none.*", 4); err != nil || len(p.entries) != 0 || p.pending != 0 {
		t.Errorf("firstPage without a match = %+v, %v", p, err)
	}
}

// A lost connection is an error, and not the end of a list.
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
		t.Error("List returned no error")
	}
	if _, err := s.Users.Find(ctx, "a", 50, ""); err == nil {
		t.Error("Find returned no error")
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
	attempts := 0
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		attempts++
		_, err := b.write(ctx, putAt("user.k", nil, 0))
		return err
	})
	if !errors.Is(err, ErrConflict) || attempts != maxAttempts {
		t.Errorf("%d attempts, %v", attempts, err)
	}
	attempts = 0
	if err := compareAndSwap(ctx, func(context.Context) error { attempts++; return ErrSelf }); !errors.Is(err, ErrSelf) || attempts != 1 {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}
