package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"imctl/bridge/audit"
	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/kv"
)

// quick are limits with which another node takes over soon.
func quick() Settings { return Settings{Limits: Limits{ackWait: 2 * time.Second}} }

// killable is a node that can be killed.
type killable struct {
	*Service
	nc *nats.Conn
}

// startKillable starts a node.
func (f *fixture) startKillable(t *testing.T, talks Talks) *killable {
	t.Helper()
	log := slog.New(slog.NewTextHandler(&f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	nc := natstest.Connect(t, f.url)
	s, err := New(nc, Options{Settings: f.settings, Webhooks: f.Webhooks, Prefix: "im", Store: f.store, Talks: talks, Serving: func() bool { return true },
		Audit: func(e audit.Event) { f.audited <- e }, Registry: prometheus.NewRegistry(), Log: log, pace: &f.pace})
	if err != nil {
		t.Fatal(err)
	}
	f.services = append(f.services, s)
	t.Cleanup(s.Close)
	return &killable{s, nc}
}

// kill ends a node without a word to NATS, as kill -9 does.
func (k *killable) kill() {
	k.nc.Close()
	k.Close()
}

// consumer returns the consumer of the webhook on a stream.
func (f *fixture) consumer(t *testing.T, stream string) (jetstream.Stream, jetstream.Consumer) {
	t.Helper()
	js, err := jetstream.New(natstest.Connect(t, f.url))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Consumer(t.Context(), subject.WebhookConsumer("hook"))
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// forget has NATS forget to which node it delivers, as when the server with the consumer ends.
func (f *fixture) forget(t *testing.T) {
	t.Helper()
	for _, stream := range []string{"IM_LOG", "IM_WEBHOOKS"} {
		s, _ := f.consumer(t, stream)
		if err := s.UnpinConsumer(t.Context(), subject.WebhookConsumer("hook"), eventlog.WebhookGroup); err != nil {
			t.Fatal(err)
		}
	}
}

// hasten has NATS deliver the entries of the log that a killed node had soon, as quick does for the queue. Nodes that
// begin later know of it.
func (f *fixture) hasten(t *testing.T) {
	t.Helper()
	_, c := f.consumer(t, "IM_LOG")
	config := c.CachedInfo().Config
	config.AckWait = f.settings.Limits.ackWait
	js, err := jetstream.New(natstest.Connect(t, f.url))
	if err == nil {
		_, err = js.UpdateConsumer(t.Context(), "IM_LOG", config)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// arrivals are the events that a destination got, by the user whose dialogues they tell of.
type arrivals struct {
	first map[string][]string // names of events in the order in which they arrived first
	ids   map[string]string   // webhook-id, by the name of the event
}

// add notes an event, and reports whether it arrived first.
func (a *arrivals) add(t *testing.T, key, name, id string) bool {
	t.Helper()
	if before, again := a.ids[name]; again {
		if before != id {
			t.Errorf("event %s has the id %s, and had %s before", name, id, before)
		}
		return false
	}
	a.ids[name], a.first[key] = id, append(a.first[key], name)
	return true
}

// check checks that n events of each key arrived in order.
func (a *arrivals) check(t *testing.T, n int) {
	t.Helper()
	for key, names := range a.first {
		if len(names) != n || !slices.IsSortedFunc(names, func(x, y string) int { return len(x) - len(y) + cmpText(x, y) }) {
			t.Errorf("the events of %s arrived in the order %v", key, names)
		}
	}
	if ids := slices.Compact(slices.Sorted(maps.Values(a.ids))); len(ids) != len(a.ids) {
		t.Errorf("%d events have %d ids", len(a.ids), len(ids))
	}
}

func cmpText(x, y string) int {
	if len(x) != len(y) || x == y {
		return 0
	}
	if x < y {
		return -1
	}
	return 1
}

const (
	takeoverKeys   = 6
	takeoverEvents = 20 // of each key
)

// offline writes entries of dialogues of several users, in turns. The id of each is its user and its number.
func (f *fixture) offline() {
	for i := range takeoverEvents {
		for key := range takeoverKeys {
			id := fmt.Appendf(nil, `"%d-%d"`, key, i)
			f.events.AddOffline(eventlog.Offline{From: f.ann.ID, To: f.friends[key], ID: id, Payload: []byte(`"text"`), At: time.Now()})
		}
	}
}

// gather takes events until all have arrived.
func (f *fixture) gather(t *testing.T) *arrivals {
	t.Helper()
	a := &arrivals{first: make(map[string][]string), ids: make(map[string]string)}
	for len(a.ids) < takeoverKeys*takeoverEvents {
		e := f.next()
		to, _ := e.body.Data["to"].(string)
		name, _ := e.body.Data["id"].(string)
		a.add(t, to, name, e.id)
	}
	return a
}

// stuck are Talks that do not answer once they have answered often enough, until the caller gives up.
type stuck struct {
	cursors
	left    int
	reached chan struct{}
}

func (s *stuck) Cursors(ctx context.Context, user string) (map[string]kv.Cursor, error) {
	if s.left--; s.left < 0 {
		if s.left == -1 {
			close(s.reached)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.cursors, nil
}

// TestPosterKilled: a node that posts is killed while events are under way, and another one is told at once to take
// over. All events arrive, those of a user in the order of the log apart from repeats, and repeats with the same id.
// So they do if the other node ends while it waits for the events of the killed one.
func TestPosterKilled(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{false, true} {
		t.Run(fmt.Sprint("the next one ends ", ends), func(t *testing.T) {
			t.Parallel()
			f := setUp(t, quick())
			f.add(t, kv.Webhook{Events: []string{"dialogue.offline"}})
			f.hasten(t)
			victim := f.startKillable(t, nil)
			reached, blocked := make(chan struct{}), make(chan struct{})
			posts := 0
			f.answers(func(http.ResponseWriter, received) { // called under a lock
				if posts++; posts == 40 {
					close(reached)
					f.mu.Unlock()
					<-blocked
					f.mu.Lock()
				}
			})
			f.offline()
			<-reached
			victim.nc.Close()
			const takesOver = `msg="webhook: NATS delivers to this node" stream=IM_WEBHOOKS`
			before := strings.Count(f.log.String(), takesOver)
			survivor := f.startKillable(t, nil)
			f.forget(t)
			victim.Close()
			close(blocked)
			if ends {
				until(t, "the next one takes over", func() bool { return strings.Count(f.log.String(), takesOver) > before })
				survivor.Close()
				survivor = f.startKillable(t, nil)
			}
			f.gather(t).check(t, takeoverEvents)
			if n := testutil.ToFloat64(survivor.metrics.posts.WithLabelValues("hook", resultOK)); n < takeoverKeys*takeoverEvents-60 {
				t.Errorf("the last node has posted %v", n)
			}
			until(t, "the queue is empty", func() bool { n, _ := f.counts(t); return n == 0 })
		})
	}
}

// TestReaderKilled: a node is killed while it has entries of the log that are not queued yet. Their events are queued
// before those of later entries.
func TestReaderKilled(t *testing.T) {
	t.Parallel()
	f := setUp(t, quick())
	talks := &stuck{left: 40, reached: make(chan struct{})}
	f.add(t, kv.Webhook{Events: []string{"dialogue.offline"}})
	f.hasten(t)
	victim := f.startKillable(t, talks)
	f.offline()
	<-talks.reached
	f.startKillable(t, cursors{})
	victim.kill()
	f.forget(t)
	f.gather(t).check(t, takeoverEvents)
}

// TestFailingMoves: only the node that posts tells that the destination fails, also if that was known before it began,
// and the node to which the webhook has moved notes in the record that the destination works again.
func TestFailingMoves(t *testing.T) {
	t.Parallel()
	f := setUp(t, quick())
	gauge := func(k *killable) float64 { return testutil.ToFloat64(k.metrics.paused.WithLabelValues("hook")) }
	state := func(want string) func() bool {
		return func() bool {
			w, err := f.Get(t.Context(), "hook")
			return err == nil && w.State() == want
		}
	}
	const failing = "failing: the destination answered 503 Service Unavailable"
	f.pace.minPause, f.pace.maxPause = time.Hour, time.Hour
	a := f.startKillable(t, nil)
	f.pace.minPause, f.pace.maxPause = time.Millisecond, time.Millisecond
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	f.answers(status(http.StatusServiceUnavailable))
	for i := range 4 {
		f.created(fmt.Sprint(i))
	}
	until(t, "the record tells", state(failing))
	if gauge(a) != 1 {
		t.Errorf("the node that posts has the gauge %v", gauge(a))
	}

	b := f.startKillable(t, nil)
	until(t, "the other node runs", func() bool { return testutil.CollectAndCount(b.metrics.paused) == 1 })
	if gauge(b) != 0 {
		t.Errorf("the other node has the gauge %v", gauge(b))
	}
	f.answers(nil)
	f.forget(t)
	f.created("works")
	until(t, "the other node posts", func() bool { return testutil.ToFloat64(b.metrics.posts.WithLabelValues("hook", resultOK)) > 0 })
	until(t, "the record tells that it works", state("ok"))
	a.Reload()
	until(t, "the first node tells no failure", func() bool { return gauge(a) == 0 })

	f.answers(status(http.StatusServiceUnavailable))
	for i := range 4 {
		f.created(fmt.Sprint(i))
	}
	until(t, "the other node tells the failure", func() bool { return gauge(b) == 1 })
	until(t, "the record tells", state(failing))
	if gauge(a) != 0 {
		t.Errorf("the first node has the gauge %v", gauge(a))
	}
}
