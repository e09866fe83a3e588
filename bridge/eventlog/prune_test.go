package eventlog

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// entries returns the number of stored entries that match a filter.
func entries(t *testing.T, l *Log, filter string) uint64 {
	t.Helper()
	s, err := l.js.Stream(t.Context(), l.stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for _, count := range info.State.Subjects {
		n += count
	}
	return n
}

// writeEntries writes n dialogues, and as many events of a user, and waits until they are stored.
func writeEntries(t *testing.T, l *Log, n int) {
	t.Helper()
	before := counted(t, l, "imctl_log_entries_total")
	v := &verdicts{make(chan bool, n)}
	for range n {
		l.User(UserCreated, kv.User{ID: idA})
		l.AddDialogue(delivered(v, "1", `"p"`))
	}
	for range n {
		if !<-v.oks {
			t.Fatal("a dialogue is refused")
		}
	}
	wait(t, "all are stored", func() bool { return counted(t, l, "imctl_log_entries_total") == before+float64(2*n) })
}

// take acknowledges n entries, and waits until the server knows.
func take(t *testing.T, c jetstream.Consumer, n int) {
	t.Helper()
	for range n {
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPrune checks that an entry is removed after all consumers whose filter matches have acknowledged it, and not
// before.
func TestPrune(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	prune := func(dialogues, users uint64) {
		t.Helper()
		if err := l.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d, u := entries(t, l, "im.log.dialogue.>"), entries(t, l, "im.log.user.>"); d != dialogues || u != users {
			t.Errorf("%d dialogues and %d events of users are stored, want %d and %d", d, u, dialogues, users)
		}
	}
	first := consumer(t, l, url, "first", "im.log.dialogue.>")
	second := consumer(t, l, url, "second", "im.log.dialogue.>")
	writeEntries(t, l, 20)
	prune(20, 0) // no consumer takes events of users
	take(t, first, 20)
	prune(20, 0)
	late := consumer(t, l, url, "late", "im.log.user.>") // takes the entries of before too, but none is left
	batch, err := second.Fetch(20, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var held jetstream.Msg
	for m := range batch.Messages() {
		if n++; n == 6 {
			held = m
		} else if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	prune(15, 0) // from the first entry that is not acknowledged
	if err := held.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	prune(0, 0)

	// A consumer that falls behind keeps its own kind of entries only.
	writeEntries(t, l, 20)
	take(t, first, 20)
	take(t, second, 20)
	prune(0, 20)
	take(t, late, 20)
	prune(0, 0)
}

// TestPruneByItself checks that the log calls Prune, also after the last consumer was removed.
func TestPruneByItself(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	c := consumer(t, l, url, "d")
	writeEntries(t, l, 10)
	take(t, c, 20)
	wait(t, "no entry is left", func() bool { return state(t, l).Msgs == 0 })
	writeEntries(t, l, 10)
	if n := state(t, l).Msgs; n != 20 {
		t.Errorf("%d entries are stored", n)
	}
	if err := l.js.DeleteConsumer(context.Background(), l.stream, "d"); err != nil {
		t.Fatal(err)
	}
	wait(t, "no entry is left", func() bool { return state(t, l).Msgs == 0 })
}

// TestPruneAfterRestart checks that a log removes what an earlier one has left.
func TestPruneAfterRestart(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	c := consumer(t, l, url, "d")
	writeEntries(t, l, 10)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	take(t, c, 20)
	if n := state(t, l).Msgs; n != 20 {
		t.Fatalf("%d entries are stored", n)
	}
	l = startLog(t, url, Options{})
	wait(t, "no entry is left", func() bool { return state(t, l).Msgs == 0 })
}

// TestPruneFull checks that entries are removed before the next interval if many were stored.
func TestPruneFull(t *testing.T) {
	t.Parallel()
	l := &Log{opts: Options{MaxBytes: 100 * pruneShare}, full: make(chan struct{}, 1)}
	for stored := int64(30); stored <= 300; stored += 30 {
		l.stored(30)
		if signals := len(l.full); (signals == 1) != (stored >= 100) {
			t.Errorf("%d signals after %d bytes", signals, stored)
		}
	}
	<-l.full
	l.stored(30)
	if len(l.full) != 0 {
		t.Error("a second signal before the removal begins")
	}
}

func TestAcknowledgedBy(t *testing.T) {
	t.Parallel()
	at := func(floor, delivered uint64, waiting int, pending uint64) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{AckFloor: jetstream.SequenceInfo{Stream: floor}, Delivered: jetstream.SequenceInfo{Stream: delivered},
			NumAckPending: waiting, NumPending: pending}
	}
	for _, c := range []struct {
		info *jetstream.ConsumerInfo
		want uint64
	}{
		{at(10, 20, 3, 5), 10},  // some are not acknowledged
		{at(10, 20, 3, 0), 10},  // likewise, and all are delivered
		{at(10, 20, 0, 5), 20},  // all that were delivered are acknowledged
		{at(10, 20, 0, 0), 90},  // no other one matches its filter
		{at(95, 95, 0, 1), 90},  // it has come further since
		{at(95, 100, 2, 0), 90}, // likewise
	} {
		if got := acknowledgedBy(c.info, 90); got != c.want {
			t.Errorf("%+v: %d, want %d", c.info, got, c.want)
		}
	}
}
