package talk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
	"imctl/kv"
)

const (
	idA = "0123456789abcdef0123456789abcdef"
	idB = "fedcba9876543210fedcba9876543210"
	idC = "11111111111111111111111111111111"
)

// openStore opens the store on a NATS server.
func openStore(t testing.TB, url string) *kv.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := kv.Open(ctx, natstest.Connect(t, url), kv.Options{Talks: &kv.TalksOptions{MaxAge: 24 * time.Hour, MaxBytes: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startService starts a service of its own on a NATS server.
func startService(t testing.TB, url string, o Options) *Service {
	t.Helper()
	store := openStore(t, url)
	o.Connect, o.Talks, o.Cursors = natstest.Dialer(url), store.Talks, store.Cursors
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute // how fast a busy machine commits is not what is tested
	}
	if o.Wait == 0 {
		o.Wait = o.Timeout
	}
	if o.StallAfter == 0 {
		o.StallAfter = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeService(t, s) })
	return s
}

// closeService closes a service, also for the second time.
func closeService(t testing.TB, s *Service) {
	t.Helper()
	if s.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// outcome is what a sender is told.
type outcome struct {
	d     kv.Dialogue
	again bool
	err   error
}

// result takes one outcome.
type result chan outcome

func (r result) Stored(d *kv.Dialogue, again bool) {
	c := *d
	c.ID, c.Payload = slices.Clone(d.ID), slices.Clone(d.Payload)
	r <- outcome{d: c, again: again}
}
func (r result) Failed(err error) { r <- outcome{err: err} }
func (r result) Unstored(d *kv.Dialogue) {
	r <- outcome{d: kv.Dialogue{ID: slices.Clone(d.ID)}, err: ErrStalled}
}

// say makes a dialogue with an id and a payload that begins with it.
func say(from, id string) kv.Dialogue {
	return kv.Dialogue{From: from, ID: []byte(`"` + id + `"`), Payload: []byte(`"payload of ` + id + `"`), Kept: true}
}

// add queues a dialogue.
func add(t testing.TB, s *Service, to string, d kv.Dialogue) result {
	t.Helper()
	r := make(result, 2)
	if err := s.Add(to, d, r); err != nil {
		t.Fatalf("Add: %v", err)
	}
	return r
}

// fill queues n dialogues of one conversation, and returns where their outcomes come.
func fill(t testing.TB, s *Service, n int) result {
	t.Helper()
	outcomes := make(result, n)
	for i := range n {
		if err := s.Add(idB, say(idA, fmt.Sprint(i)), outcomes); err != nil {
			t.Fatal(err)
		}
	}
	return outcomes
}

// stored queues a dialogue and returns the outcome, which must be that it is stored.
func stored(t testing.TB, s *Service, to string, d kv.Dialogue) outcome {
	t.Helper()
	o := <-add(t, s, to, d)
	if o.err != nil {
		t.Fatalf("%s is not stored: %v", d.ID, o.err)
	}
	return o
}

// read returns all dialogues of a conversation as they were written.
func read(t testing.TB, s *Service, p kv.Pair) []kv.Dialogue {
	t.Helper()
	r, err := s.opts.Talks.Last(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var all []kv.Dialogue
	for r != nil {
		all = append(slices.Clone(r.Dialogues), all...)
		if r, err = s.opts.Talks.Before(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// checkNumbered fails unless the dialogues of a conversation have the numbers from 1, and times that do not go back.
func checkNumbered(t testing.TB, all []kv.Dialogue, count int) {
	t.Helper()
	if len(all) != count {
		t.Errorf("%d dialogues are stored, want %d", len(all), count)
	}
	for i, d := range all {
		if d.N != uint64(i+1) {
			t.Fatalf("dialogue %d has the number %d", i+1, d.N)
		}
		if i > 0 && d.At.Before(all[i-1].At) {
			t.Fatalf("dialogue %d is of %v, the one before of %v", d.N, d.At, all[i-1].At)
		}
	}
}

// wait calls done until it is true. What it waits for gives no signal.
func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("%s: it did not come to that", what)
		case <-tick.C:
		}
	}
}

// counter returns the value of a counter, by name and label.
func counter(t testing.TB, s *Service, name, label string) float64 {
	t.Helper()
	families, err := s.opts.Registry.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("there is no %s %s", name, label)
	return 0
}

// advances collects what Options.Advanced is told.
type advances struct {
	mu  sync.Mutex
	all []string
}

func (a *advances) advanced(user, with string, got, read uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, fmt.Sprintf("%.1s %.1s %d %d", user, with, got, read))
}

func (a *advances) has(line string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.all, line)
}

var errTest = errors.New("a test refuses it")

// idle waits until no goroutine owns a conversation, and returns it.
func idle(t testing.TB, s *Service, p kv.Pair) (c *conversation) {
	t.Helper()
	wait(t, "the conversation is idle", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		c = s.convs[p]
		return !c.busy
	})
	return c
}
