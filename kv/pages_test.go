package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// The pages have each key once, in the order of writing, also while the keys that were read are written anew.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	bulk, err := NewBulk(ctx, s.Users.b.nc, "im")
	if err != nil {
		t.Fatal(err)
	}
	if err := bulk.Create(ctx, slices.Values(strangers(prefetchKeys))); err != nil {
		t.Fatal(err)
	}
	b, got, last := s.Rosters.b, make(map[string]bool), uint64(0)
	err = b.pages(ctx, 0, func(entries []entry) error {
		if len(entries) > pageKeys {
			t.Errorf("a page of %d keys", len(entries))
		}
		var again []write
		for _, e := range entries {
			if got[e.key] || e.revision <= last {
				t.Errorf("%s at %d, after %d", e.key, e.revision, last)
			}
			got[e.key], last = true, e.revision
			again = append(again, putAt(e.key, e.value, e.revision))
		}
		_, err := b.write(ctx, again...)
		return err
	})
	if err != nil || len(got) != prefetchKeys {
		t.Errorf("%d keys, %v", len(got), err)
	}
}

// The last messages of a stream may be gone before they are read.
func TestPagesEndInAGap(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	mustCreate(t, s, "a", "A")
	b := s.Users.b
	for _, gap := range []bool{false, true} {
		if gap { // the stream's last revision has no message
			if err := s.Users.barrier(ctx); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		if err := b.pages(ctx, 0, func(entries []entry) error { n += len(entries); return nil }); err != nil || n != 3 {
			t.Errorf("gap %t: %d keys, %v", gap, n, err)
		}
	}
}

// An upgrade ends when its context does, and what bounds the wait for NATS does not bound it.
func TestUpgradeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	u := mustCreate(t, s, "a", "A")
	old := func() {
		t.Helper()
		if _, err := s.States.Update(testContext(t), func(state *State) error { state.Format = 0; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	old()
	const wait = 5 * time.Second
	said := func(do func()) *slog.Logger { return slog.New(onMessage{"converting the buckets", do}) }
	ctx, cancel := context.WithCancel(testContext(t))
	if _, err := Open(ctx, s.Users.b.nc, Options{Wait: wait, Log: said(cancel)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled when the upgrade began: %v", err)
	}
	if state, err := s.States.Get(testContext(t)); err != nil || state.Format != 0 {
		t.Errorf("the state after it: %+v, %v", state, err)
	}
	slow := said(func() { <-time.After(wait + time.Second) }) // as an upgrade that takes longer
	s, err := Open(testContext(t), s.Users.b.nc, Options{Wait: wait, Log: slow})
	if err != nil {
		t.Fatal("an upgrade that takes longer than the wait: ", err)
	}
	if got, err := s.Users.ByAccount(testContext(t), "a"); err != nil || got != u {
		t.Errorf("%+v, %v", got, err)
	}
}

// onMessage is a log handler that calls do at a message that begins so.
type onMessage struct {
	begin string
	do    func()
}

func (h onMessage) Enabled(context.Context, slog.Level) bool { return true }
func (h onMessage) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h onMessage) WithGroup(string) slog.Handler            { return h }
func (h onMessage) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, h.begin) {
		h.do()
	}
	return nil
}

// Progress is said now and then, with counts.
func TestProgress(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	p := newProgress(slog.New(slog.NewTextHandler(&said, nil)))
	p.begin("moving users", 30)
	p.add(make([]entry, 10))
	if said.Len() > 0 {
		t.Errorf("said at once: %s", said.String())
	}
	p.logged = p.logged.Add(-progressInterval)
	p.add(make([]entry, 10))
	p.add(make([]entry, 10))
	if got := said.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `step="moving users" keys=20 of=30`) {
		t.Errorf("said %s", got)
	}
}

// What a survey holds of a user is right whatever the order of its keys, and in doubt the user does not exist.
func TestSurveyNotes(t *testing.T) {
	t.Parallel()
	id := NewID()
	record := func(account string) entry {
		return entry{key: userKey(id), value: fmt.Appendf(nil, `{"account":%q}`, account)}
	}
	claim := func(account string) entry { return entry{key: accountKey(account), value: []byte(id)} }
	gone := entry{key: userKey(id), deleted: true}
	for name, c := range map[string]struct {
		keys []entry
		want bool
	}{
		"claim first":         {[]entry{claim("a"), record("a")}, true},
		"record first":        {[]entry{record("a"), claim("a")}, true},
		"no claim":            {[]entry{record("a")}, false},
		"no record":           {[]entry{claim("a")}, false},
		"another's claim":     {[]entry{claim("b"), record("a")}, false},
		"a second claim":      {[]entry{record("a"), claim("b"), claim("a")}, true},
		"deleted":             {[]entry{claim("a"), record("a"), gone}, false},
		"a claim that is old": {[]entry{claim("b"), claim("a"), record("a")}, false}, // to be looked up
	} {
		f := newOrphanFinder(nil)
		for _, e := range c.keys {
			if err := f.addKey(e); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.exists(id); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
