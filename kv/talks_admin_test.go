package kv

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func text(from, payload string) Dialogue {
	return Dialogue{From: from, ID: []byte(`"1"`), Payload: []byte(`"` + payload + `"`), At: time.Now().UTC().Truncate(time.Millisecond)}
}

// TestTalksCheck: a record that is missing between others is found, and one that has expired or was erased is not.
func TestTalksCheck(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	var records []*Record
	p, q := PairOf(NewID(), NewID()), PairOf(NewID(), NewID())
	r, other := EmptyRecord(p, 0), EmptyRecord(q, 0)
	for range 6 {
		r = say(t, s.Talks, r, text(p.A, "x"))
		other = say(t, s.Talks, other, text(q.B, "y"))
		records = append(records, r)
	}
	check := func(want error, what string) {
		t.Helper()
		pairs := 0
		err := s.Talks.Check(ctx, func(Pair) error { pairs++; return nil })
		if !errors.Is(err, want) || want == nil && err != nil || pairs != 2 {
			t.Errorf("%s: %v, %d conversations, want %v", what, err, pairs, want)
		}
	}
	check(nil, "whole")
	if err := s.Talks.b.purgeSubjects(ctx, "", records[1].Seq); err != nil {
		t.Fatal(err)
	}
	check(nil, "the first ones have expired")
	if err := s.Talks.Erase(ctx, q); err != nil {
		t.Fatal(err)
	}
	check(nil, "one is erased")
	if err := s.Talks.deleteRecord(ctx, records[3].Seq); err != nil {
		t.Fatal(err)
	}
	check(ErrTalkBroken, "a record is missing")
}

// TestSweepTalks: conversations of users that do not exist are counted, and removed unless dry.
func TestSweepTalks(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	var ids []string
	for _, account := range []string{"ann", "bob"} {
		u, err := s.Users.Create(ctx, User{Account: account})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.ID)
	}
	kept, orphan := PairOf(ids[0], ids[1]), PairOf(ids[0], NewID())
	say(t, s.Talks, EmptyRecord(kept, 0), text(ids[0], "x"))
	say(t, s.Talks, EmptyRecord(orphan, 0), text(ids[0], "x"))
	for _, step := range []struct {
		dry  bool
		want int
	}{{true, 1}, {false, 1}, {true, 0}} {
		found, err := s.Sweep(ctx, step.dry)
		if err != nil || found.Talks != step.want {
			t.Errorf("dry %t: %+v, %v, want %d conversations", step.dry, found, err, step.want)
		}
	}
	if r := mustLast(t, s.Talks, kept); r == nil {
		t.Error("a conversation of two users is removed")
	}
}

// TestTalksImport: dialogues keep their numbers, and a conversation that has others does not change.
func TestTalksImport(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	p, live := PairOf(NewID(), NewID()), PairOf(NewID(), NewID())
	at := func(first uint64, n int) (all []Dialogue) {
		for i := range n {
			d := text(p.A, "x")
			d.N = first + uint64(i)
			all = append(all, d)
		}
		return all
	}
	for _, step := range []struct {
		what   string
		first  uint64
		n      int
		stored int
	}{{"the first part", 5, 3, 3}, {"again", 5, 3, 0}, {"the next", 8, 2, 2}, {"overlapping", 9, 4, 3}, {"with a gap", 20, 2, 0}, {"earlier", 1, 4, 0}} {
		if n, err := s.Talks.Import(ctx, p, at(step.first, step.n)); err != nil || n != step.stored {
			t.Errorf("%s: %d dialogues stored, %v, want %d", step.what, n, err, step.stored)
		}
	}
	page, err := s.Talks.Read(ctx, p, p.A, Range{Limit: 100})
	if err != nil || page.First != 5 || page.Last != 12 || len(page.Dialogues) != 8 {
		t.Errorf("imported: %+v, %v", page, err)
	}
	say(t, s.Talks, EmptyRecord(live, 0), text(live.A, "x"))
	if n, err := s.Talks.Import(ctx, live, at(2, 1)); err != nil || n != 0 {
		t.Errorf("a conversation with other records: %d dialogues stored, %v", n, err)
	}
}

// TestRemoveBefore removes the records before a time. The others stay.
func TestRemoveBefore(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	p := PairOf(NewID(), NewID())
	r := say(t, s.Talks, EmptyRecord(p, 0), text(p.A, "old"))
	r = say(t, s.Talks, r, text(p.A, "old"))
	r = say(t, s.Talks, r, text(p.A, "new"))
	e, err := s.Talks.b.requestLeader(ctx, map[string]any{"seq": r.Seq})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		before time.Time
		want   uint64
	}{{time.Now().Add(-time.Hour), 0}, {e.written, 2}, {e.written, 0}, {e.written.Add(time.Nanosecond), 1}, {time.Now(), 0}} {
		if n, err := s.Talks.RemoveBefore(ctx, step.before); err != nil || n != step.want {
			t.Errorf("%d records removed, %v, want %d", n, err, step.want)
		}
	}
}

// TestTalksFit: a stream that NATS cannot reserve the size of is created smaller, and stays so, and the log says it.
func TestTalksFit(t *testing.T) {
	t.Parallel()
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 100 << 20, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, step := range []struct{ want, got int64 }{{1 << 30, 64 << 20}, {1 << 30, 64 << 20}, {32 << 20, 32 << 20}} {
		var out bytes.Buffer
		s := openStore(t, nc, Options{Talks: &TalksOptions{MaxBytes: step.want}, Log: slog.New(slog.NewTextHandler(&out, nil))})
		stream, err := s.Talks.b.js.Stream(t.Context(), s.Talks.Stream())
		if err != nil || stream.CachedInfo().Config.MaxBytes != step.got {
			t.Errorf("%v: the stream has the limit %d, want %d", err, stream.CachedInfo().Config.MaxBytes, step.got)
		}
		if warned := strings.Contains(out.String(), "level=WARN"); warned != (step.got < step.want) {
			t.Errorf("limit %d: the log has %s", step.want, &out)
		}
	}
}
