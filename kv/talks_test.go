package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// newTalkStore opens a store that keeps conversations, on a server of its own.
func newTalkStore(t testing.TB) *Store {
	t.Helper()
	return newStore(t, Options{Talks: &TalksOptions{MaxAge: 30 * 24 * time.Hour, MaxBytes: 1 << 30}, Log: testLog(t)})
}

// say stores dialogues as one record after r, and returns it.
func say(t testing.TB, talks *Talks, r *Record, dialogues ...Dialogue) *Record {
	t.Helper()
	next := r.Next(1, dialogues)
	if err := talks.publish(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	return next
}

// sayMany stores records of many conversations. The stream must be empty. talkers[i] is the number of the conversation
// of record i. It returns the newest records, by conversation.
func sayMany(t testing.TB, talks *Talks, talkers []int, payload string) map[int]*Record {
	t.Helper()
	ctx := testContext(t)
	js, err := jetstream.New(talks.b.nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		t.Fatal(err)
	}
	heads, at := make(map[int]*Record), time.Now().UnixMilli()
	for i, n := range talkers {
		head := heads[n]
		if head == nil {
			head = EmptyRecord(pairAt(n), 0)
		}
		next := head.Next(1, []Dialogue{dialogueAt(at+int64(i), head.Pair.A, payload)})
		next.Seq = uint64(i + 1)
		m := &nats.Msg{Subject: talks.Subject(next.Pair), Data: next.Append(nil), Header: nats.Header{}}
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(head.Seq, 10))
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
		next.Dialogues = nil
		heads[n] = next
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	info, err := talks.b.js.Stream(ctx, talks.Stream())
	if err != nil || info.CachedInfo().State.LastSeq != uint64(len(talkers)) {
		t.Fatalf("the stream has %d messages (%v), want %d", info.CachedInfo().State.LastSeq, err, len(talkers))
	}
	return heads
}

// pairAt returns conversation n.
func pairAt(n int) Pair {
	return PairOf(fmt.Sprintf("%032x", 2*n+1), fmt.Sprintf("%032x", 0xa0000000+n))
}

// requests returns how many messages a connection has sent since the last call.
func requests(nc *nats.Conn, before *uint64) uint64 {
	sent := nc.Stats().OutMsgs
	n := sent - *before
	*before = sent
	return n
}

func mustLast(t testing.TB, talks *Talks, p Pair) *Record {
	t.Helper()
	r, err := talks.Last(testContext(t), p)
	if err != nil || r == nil {
		t.Fatalf("the newest record is %v, %v", r, err)
	}
	return r
}

// The numbers of a long conversation are found by few requests.
func TestTalksFind(t *testing.T) {
	t.Parallel()
	const records, maxGets = 5000, 35
	s := newTalkStore(t)
	ctx, random := testContext(t), rand.New(rand.NewPCG(1, 2))
	talkers := make([]int, 0, 2*records)
	for range records {
		talkers = append(talkers, 0)
		if random.IntN(2) == 0 {
			talkers = append(talkers, 1+random.IntN(50))
		}
	}
	heads := sayMany(t, s.Talks, talkers, `"x"`)
	head := mustLast(t, s.Talks, pairAt(0))
	if head.Last != records || head.Seq != heads[0].Seq {
		t.Fatalf("the newest record is %+v", head)
	}
	var sent, most uint64
	requests(s.Talks.b.nc, &sent)
	for n := uint64(1); n <= records; n += 9 {
		r, err := s.Talks.Find(ctx, head, n)
		if err != nil || r.First != n || r.Dialogues[0].N != n {
			t.Fatalf("Find %d: %+v, %v", n, r, err)
		}
		most = max(most, requests(s.Talks.b.nc, &sent))
	}
	if most > maxGets {
		t.Errorf("a number took %d requests, want at most %d", most, maxGets)
	}
	t.Logf("at most %d requests", most)
	for _, n := range []uint64{0, records + 1} {
		if _, err := s.Talks.Find(ctx, head, n); !errors.Is(err, ErrNoDialogue) {
			t.Errorf("Find %d: %v", n, err)
		}
	}
	length := 0
	for r := head; r != nil; length++ {
		var err error
		if r, err = s.Talks.Before(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if length != records {
		t.Errorf("Before leads to %d records, want %d", length, records)
	}
}

func TestTalksLastOf(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	var talkers []int
	for n := range 1500 {
		talkers = append(talkers, n, n)
	}
	heads := sayMany(t, s.Talks, talkers, `"x"`)
	var pairs []Pair
	for n := range 1600 {
		pairs = append(pairs, pairAt(n))
	}
	got, err := s.Talks.LastOf(testContext(t), append(pairs, Pair{"a", "b.>"}))
	if err != nil || len(got) != len(heads) {
		t.Fatalf("LastOf returns %d records, %v, want %d", len(got), err, len(heads))
	}
	for n, head := range heads {
		if r := got[pairAt(n)]; r == nil || r.Seq != head.Seq || r.Last != 2 {
			t.Errorf("conversation %d: %+v, want sequence %d", n, r, head.Seq)
		}
	}
	if r, err := s.Talks.Last(testContext(t), pairAt(1599)); r != nil || err != nil {
		t.Errorf("a conversation without records: %+v, %v", r, err)
	}
}

// Of two writers that follow the same record, one fails and can follow the other.
func TestTalksConflict(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	head := say(t, s.Talks, EmptyRecord(testPair, 0), dialogueAt(1, testPair.A, `"x"`))
	errs := atOnce(2, func(i int) error {
		return s.Talks.publish(testContext(t), head.Next(uint64(i), []Dialogue{dialogueAt(2, testPair.B, `"y"`)}))
	})
	if Conflicting(errs[0]) == Conflicting(errs[1]) {
		t.Fatalf("two writers: %v, want one conflict", errs)
	}
	head = mustLast(t, s.Talks, testPair)
	if head.Last != 2 || head.Nonce > 1 || errs[head.Nonce] != nil {
		t.Fatalf("the newest record is %+v", head)
	}
	say(t, s.Talks, head, dialogueAt(3, testPair.A, `"z"`))
}

// The stream is expected once it exists, also while conversations are off.
func TestTalksExpected(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	ctx, off := testContext(t), Options{Log: testLog(t)}
	on := off
	on.Talks = &TalksOptions{MaxAge: time.Hour, MaxBytes: 1 << 20}
	if s := openStore(t, nc, off); s.Talks != nil || s.Cursors != nil {
		t.Error("a store without conversations has them")
	}
	s := openStore(t, nc, on)
	stream, err := s.Talks.b.js.Stream(ctx, "IM_TALKS")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	if config.MaxAge != time.Hour || config.MaxBytes != 1<<20 || !config.AllowDirect || !config.AllowAtomicPublish ||
		config.Discard != jetstream.DiscardOld || config.MaxMsgsPerSubject != -1 || config.DenyDelete || config.DenyPurge {
		t.Errorf("the stream's configuration is %+v", config)
	}
	on.Talks.MaxAge = 2 * time.Hour
	openStore(t, nc, on)
	if found, err := FindStore(ctx, nc, "im"); err != nil || found.Talks == nil || found.Cursors == nil {
		t.Errorf("FindStore: %+v, %v", found, err)
	}
	openStore(t, nc, off)
	if err := s.Talks.b.js.DeleteStream(ctx, "IM_TALKS"); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{on, off} {
		_, err := Open(ctx, nc, o)
		var lost *LostError
		if !errors.As(err, &lost) || !slices.Equal(lost.Names, []string{"IM_TALKS"}) {
			t.Errorf("Open without the stream: %v", err)
		}
	}
	on.AcceptLoss = []string{"IM_TALKS"}
	openStore(t, nc, on)
	if found, err := OpenTalks(ctx, nc, "other"); found != nil || err != nil {
		t.Errorf("OpenTalks of another prefix: %v, %v", found, err)
	}
}

// Records that are no part of the conversation, or damaged, are errors and not the end of the conversation.
func TestTalksDamaged(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	for name, data := range map[string][]byte{"damaged": {recordVersion, 1}, "of a later version": {recordVersion + 1}} {
		if _, err := s.Talks.b.js.Publish(ctx, s.Talks.Subject(testPair), data); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Talks.Last(ctx, testPair); !errors.Is(err, errRecord) {
			t.Errorf("a record that is %s: %v", name, err)
		}
		if _, err := s.Talks.Read(ctx, testPair, testPair.A, Range{Limit: 10}); !errors.Is(err, errRecord) {
			t.Errorf("a page with a record that is %s: %v", name, err)
		}
	}
	if err := s.Talks.Scan(ctx, func(*Record) error { return nil }); !errors.Is(err, errRecord) {
		t.Errorf("a scan of damaged records: %v", err)
	}
	other := say(t, s.Talks, EmptyRecord(pairAt(1), 0), dialogueAt(1, pairAt(1).A, `"x"`))
	if _, err := s.Talks.at(ctx, pairAt(2), other.Seq); err == nil || errors.Is(err, ErrNoDialogue) {
		t.Errorf("a record of another conversation: %v", err)
	}
	if err := s.Talks.EraseUser(ctx, testPair.A); err != nil {
		t.Errorf("erase damaged records: %v", err)
	}
	if r, err := s.Talks.Last(ctx, testPair); r != nil || err != nil {
		t.Errorf("after the erasure: %+v, %v", r, err)
	}
}

func TestTalksScan(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	sayMany(t, s.Talks, []int{0, 1, 0, 2}, `"x"`)
	var seen []string
	err := s.Talks.Scan(testContext(t), func(r *Record) error {
		seen = append(seen, fmt.Sprint(r.Pair == pairAt(0), r.Seq, r.First))
		return nil
	})
	if want := []string{"true 1 1", "false 2 1", "true 3 2", "false 4 1"}; err != nil || !slices.Equal(seen, want) {
		t.Errorf("Scan: %q, %v, want %q", seen, err, want)
	}
	if err := s.Talks.Scan(testContext(t), func(*Record) error { return context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Errorf("Scan returns %v, want the caller's error", err)
	}
}
