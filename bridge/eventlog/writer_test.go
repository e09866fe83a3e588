package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
)

// metric returns one of the log's metrics: of a counter or gauge its value as the sum, of a histogram both.
func metric(t testing.TB, l *Log, name string) (count uint64, sum float64) {
	t.Helper()
	families, err := l.opts.Registry.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum() + m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0, 0
}

func counted(t testing.TB, l *Log, name string) float64 {
	t.Helper()
	_, n := metric(t, l, name)
	return n
}

func TestKnowsItsConsumers(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	// Only JetStream announces this consumer.
	if _, err := js.CreateConsumer(t.Context(), l.stream, jetstream.ConsumerConfig{Durable: "d"}); err != nil {
		t.Fatal(err)
	}
	wait(t, "attached", func() bool { return l.Attached() && l.consumers.Load() == 1 })
	if err := js.DeleteConsumer(t.Context(), l.stream, "d"); err != nil {
		t.Fatal(err)
	}
	wait(t, "detached", func() bool { return !l.Attached() })
}

// An announcement holds although no consumer is counted, for a while.
func TestHoldsAnAnnouncement(t *testing.T) {
	t.Parallel()
	l := startLog(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), Options{})
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !l.Attached() {
		t.Error("an announced consumer is not known")
	}
	wait(t, "detached", func() bool { return !l.Attached() })
}

func TestFindsConsumersAtItsStart(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	consumer(t, startLog(t, url, Options{}), url, "d")
	if l := startLog(t, url, Options{}); !l.Attached() {
		t.Error("the consumer of an earlier run is not known")
	}
}

// Under load many entries share a commit, each is answered once, and each is stored.
func TestGroups(t *testing.T) {
	t.Parallel()
	t.Run("batches", func(t *testing.T) { t.Parallel(); testLogGroups(t, Options{}) })
	t.Run("plain", func(t *testing.T) { t.Parallel(); testLogGroups(t, Options{Plain: true}) })
}

func testLogGroups(t *testing.T, o Options) {
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	o.Timeout = time.Minute // how fast a busy machine commits is not what is tested
	l := startLog(t, url, o)
	consumer(t, l, url, "d")
	const senders, each = 20, 200
	v := &verdicts{make(chan bool, senders*each)}
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range each {
				if !l.AddDialogue(delivered(v, fmt.Sprint(i), `"p"`)) {
					t.Error("a dialogue does not wait")
				}
			}
		})
	}
	wg.Wait()
	for range senders * each {
		if ok := <-v.oks; !ok {
			t.Fatalf("ok is %t", ok)
		}
	}
	if s := state(t, l); s.Msgs != senders*each {
		t.Errorf("%d entries are stored, not %d", s.Msgs, senders*each)
	}
	groups, entries := metric(t, l, "imctl_log_group_entries")
	if entries != senders*each || groups == 0 || entries/float64(groups) < 10 {
		t.Errorf("%.0f entries in %d groups", entries, groups)
	}
	if n := counted(t, l, "imctl_log_entries_total"); n != senders*each {
		t.Errorf("%.0f entries are counted", n)
	}
	t.Logf("%.0f entries in %d groups", entries, groups)
}

func TestIsFull(t *testing.T) {
	t.Parallel()
	for on, want := range map[OnError]bool{Refuse: false, Continue: true} {
		t.Run(string(on), func(t *testing.T) {
			t.Parallel()
			url := natstest.Start(t, t.TempDir(), -1).ClientURL()
			text := new(natstest.Log)
			l := startLog(t, url, Options{MaxBytes: 64 << 10, OnError: on, Log: slog.New(slog.NewTextHandler(text, nil))})
			c := consumer(t, l, url, "d")
			v := &verdicts{make(chan bool, 1)}
			payload := `"` + strings.Repeat("p", 1000) + `"`
			stored := 0
			for ; stored < 100; stored++ {
				before := counted(t, l, "imctl_log_entries_total")
				if l.AddDialogue(delivered(v, "1", payload)); !<-v.oks {
					break
				}
				if counted(t, l, "imctl_log_entries_total") == before {
					break
				}
			}
			// What the consumer has not taken is still there, all of it.
			if n := state(t, l).Msgs; n != uint64(stored) || n < 32 || n > 64 {
				t.Errorf("%d entries are stored, %d were answered 200", n, stored)
			}
			if l.AddDialogue(delivered(v, "2", payload)); <-v.oks != want {
				t.Errorf("a full log does not answer %t", want)
			}
			if lost := counted(t, l, "imctl_log_lost_total"); (lost > 0) != (on == Continue) {
				t.Errorf("%g are lost", lost)
			}
			if n := strings.Count(text.String(), "cannot be written"); n != 1 {
				t.Errorf("it is logged %d times", n)
			}
			for range fetch(t, c, stored) {
			}
			wait(t, "empty", func() bool { return state(t, l).Msgs == 0 })
			before := counted(t, l, "imctl_log_entries_total")
			if l.AddDialogue(delivered(v, "3", `"p"`)); !<-v.oks || counted(t, l, "imctl_log_entries_total") != before+1 {
				t.Error("the log is not written again")
			}
		})
	}
}

// A dialogue does not hang while NATS is away, and nothing is to be done when it is back.
func TestWithoutNATS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := natstest.Start(t, dir, -1)
	url, port := srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port
	l := startLog(t, url, Options{Timeout: time.Minute})
	c := consumer(t, l, url, "d")
	srv.Shutdown()
	srv.WaitForShutdown()
	v := &verdicts{make(chan bool, 100)}
	for i := range 10 {
		l.AddDialogue(delivered(v, fmt.Sprint(i), `"p"`))
	}
	for range 10 {
		if ok := <-v.oks; ok {
			t.Fatalf("ok is %t", ok)
		}
	}
	natstest.Start(t, dir, port)
	wait(t, "written again", func() bool {
		l.AddDialogue(delivered(v, "again", `"p"`))
		return <-v.oks
	})
	for m := range fetch(t, c, 1) {
		if !strings.Contains(string(m.Data()), `"again"`) {
			t.Errorf("stored is %s", m.Data())
		}
	}
}

// What was accepted is committed before Close returns, and what comes later is refused.
func TestClose(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	consumer(t, l, url, "d")
	const n = 3 * groupEntries
	v := &verdicts{make(chan bool, n+1)}
	for i := range n {
		l.AddDialogue(delivered(v, fmt.Sprint(i), `"p"`))
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range n {
		if ok := <-v.oks; !ok {
			t.Fatalf("ok is %t", ok)
		}
	}
	if s := state(t, l); s.Msgs != n {
		t.Errorf("%d entries are stored, not %d", s.Msgs, n)
	}
	if l.AddDialogue(delivered(v, "late", `"p"`)); <-v.oks {
		t.Error("a closed log takes entries")
	}
}

// An end that may not take any longer gives up what is left, and answers it.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	consumer(t, l, url, "d")
	const n = 20 * groupEntries
	v := &verdicts{make(chan bool, n)}
	for i := range n {
		l.AddDialogue(delivered(v, fmt.Sprint(i), `"p"`))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	refused := 0
	for range n {
		if !<-v.oks {
			refused++
		}
	}
	if refused == 0 {
		t.Error("nothing was given up")
	}
	// What was on its way to the server is behind it once this is.
	if _, err := l.js.Publish(t.Context(), "im.log.last", nil); err != nil {
		t.Fatal(err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	idle := func() *writer { // no goroutine commits its queue
		w := &writer{nc: natstest.Connect(t, url)}
		w.wake = sync.NewCond(&w.mu)
		return w
	}
	w := idle()
	for i := range queueEntries {
		if err := w.add(entry{subject: "s", data: []byte("d")}); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	if err := w.add(entry{subject: "s"}); !errors.Is(err, errLogFull) {
		t.Errorf("too many entries: %v", err)
	}
	if n := len(w.queue); n != queueEntries/groupEntries {
		t.Errorf("they are %d groups", n)
	}
	w = idle()
	big := entry{subject: "s", data: make([]byte, 900<<10)}
	for range queueBytes / big.size() {
		if err := w.add(big); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.add(big); !errors.Is(err, errLogFull) {
		t.Errorf("too many bytes: %v", err)
	}
	if n := len(w.queue); n != queueBytes/big.size() {
		t.Errorf("large entries are %d groups", n)
	}
	if err := w.add(entry{subject: "s", data: make([]byte, 1<<20)}); !errors.Is(err, errLogSize) {
		t.Errorf("an entry larger than a message: %v", err)
	}
	for g := w.next(); len(w.queue) > 0; g = w.next() {
		if len(g.entries) != 1 {
			t.Errorf("a group of %d", len(g.entries))
		}
	}
	if w.len() != 0 || w.bytes != 0 {
		t.Errorf("%d entries and %d bytes are left", w.len(), w.bytes)
	}
}

// TestGather checks that a commit waits for the dialogues that follow the answers to the last group, and how long.
func TestGather(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	synctest.Test(t, func(t *testing.T) {
		w := &writer{nc: nc}
		w.wake = sync.NewCond(&w.mu)
		add := func(n int) {
			t.Helper()
			for range n {
				if err := w.add(entry{subject: "s", data: []byte("d")}); err != nil {
					t.Fatal(err)
				}
			}
		}
		groups := make(chan int)
		go func() {
			for g := w.next(); g != nil; g = w.next() {
				groups <- len(g.entries)
			}
			close(groups)
		}()
		got := func(want int) {
			t.Helper()
			synctest.Wait()
			select {
			case n := <-groups:
				if n != want {
					t.Errorf("a group of %d, want %d", n, want)
				}
			default:
				if want != 0 {
					t.Errorf("no group, want one of %d", want)
				}
			}
			synctest.Wait()
		}
		add(1)
		got(1) // without a wait
		w.gatherNext(20)
		add(19)
		got(0)
		add(1)
		got(20)
		w.gatherNext(20)
		add(5)
		got(0)
		w.endGather()
		got(5)
		w.gatherNext(20)
		w.endGather()
		add(1) // long after the last commit
		got(1)
		w.gatherNext(2 * gatherEntries)
		add(gatherEntries)
		got(gatherEntries)
		w.gatherNext(20)
		add(3)
		w.mu.Lock()
		w.closed = true
		w.wake.Signal()
		w.mu.Unlock()
		got(3)
		if _, open := <-groups; open {
			t.Error("a group after the last one")
		}
	})
}

// A stream takes so many batches at once, and others may have them all under way.
func TestOnACrowdedStream(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	consumer(t, l, url, "d")
	nc := natstest.Connect(t, url)
	batches := func(seq string) {
		t.Helper()
		for i := range 50 {
			m := nats.NewMsg("im.log.other")
			m.Header["Nats-Batch-Id"], m.Header["Nats-Batch-Sequence"] = []string{fmt.Sprint(i)}, []string{seq}
			if _, err := nc.RequestMsg(m, 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	const n = 2 * plainEntries
	v := &verdicts{make(chan bool, n)}
	commit := func() (ok bool) {
		t.Helper()
		var entries []entry
		for i := range n {
			d := delivered(v, fmt.Sprint(i), `"p"`)
			entries = append(entries, entry{subject: l.names.LogDialogue(d.From, d.To), data: dialogueBody(d, time.Now()), done: v, expires: time.Now().Add(time.Minute)})
		}
		l.writer.commit(entries) // in the place of the writer's own goroutine, which has nothing to do
		for range n {
			ok = <-v.oks
		}
		return ok
	}
	batches("1")
	if ok := commit(); ok {
		t.Errorf("the commit succeeded although no batch is free")
	}
	batches("3") // with a gap, which ends them
	if ok := commit(); !ok || state(t, l).Msgs != n {
		t.Errorf("batches are free: ok is %t, and %d entries are stored", ok, state(t, l).Msgs)
	}
}

// A batch that another stream stores is an error.
func TestLogBatchOfAnotherStream(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	config := streamConfig(Options{Prefix: "im"}.withDefaults())
	config.Name = "OTHER"
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	entries := []entry{{subject: "im.log.a"}, {subject: "im.log.b"}}
	for stream, want := range map[string]error{"OTHER": nil, "IM_LOG": ErrStream} {
		w := &writer{log: &Log{stream: stream}, nc: nc, batches: stream}
		if err := w.publishBatch(t.Context(), entries); !errors.Is(err, want) {
			t.Errorf("the log's stream is %s: %v, want %v", stream, err, want)
		}
	}
}
