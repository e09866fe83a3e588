package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/bridge/talk"
	"imctl/kv"
)

// repeating is a Keeper that has stored each dialogue before, except the first one.
type repeating struct {
	memory
	first kv.Dialogue
}

func (r *repeating) Add(_ string, d kv.Dialogue, done talk.Done) error {
	again := r.first.N > 0
	if !again {
		r.first = d
		r.first.N, r.first.At = 1, time.UnixMilli(0).UTC()
	}
	done.Stored(&r.first, again)
	return nil
}

// TestRepeatedIsLogged: a dialogue whose entry could not be stored is answered 507. When its sender repeats it, the log
// gets the entry before the answer 202.
func TestRepeatedIsLogged(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, t.TempDir(), -1)
	url, always := s.ClientURL(), func() bool { return true }
	var full atomic.Bool
	log, err := eventlog.Open(t.Context(), natstest.Connect(t, url), natstest.Dialer(url), eventlog.Options{Registry: prometheus.NewRegistry(), MayWrite: func() error {
		if full.Load() {
			return errors.New("no room left")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close(context.Background()) })
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), "IM_LOG", jetstream.ConsumerConfig{Durable: "all", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	if err := log.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	lanes, err := New(Options{Lanes: 1, Prefix: "im", Node: "n", Timeout: time.Minute, Connect: natstest.Dialer(url), Keeper: new(repeating), Log: log,
		Notices: NewNotices(natstest.Connect(t, url), "im"), Fresh: always, Alone: always, Metrics: NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lanes.Close)
	from := new(taker).join(t, lanes, ann, bob, true, true)
	send := func() {
		t.Helper()
		if err := from.member.Keep([]byte(bob), Relation{Friend: true}, kv.Dialogue{ID: []byte(`"1"`), Payload: []byte(`"hello"`)}, from); err != nil {
			t.Fatal(err)
		}
	}
	entries := func() uint64 { // of dialogues; those about friends that are offline come later
		t.Helper()
		stream, err := js.Stream(t.Context(), "IM_LOG")
		if err != nil {
			t.Fatal(err)
		}
		on := subject.Prefix("im").LogDialogue(ann, bob)
		info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(on))
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Subjects[on]
	}
	full.Store(true)
	send()
	from.want(t, "take 1 own true", `"1": 507`)
	if n := entries(); n != 0 {
		t.Errorf("%d entries in a log that cannot be written", n)
	}
	full.Store(false)
	send()
	from.want(t, `"1": kept as 1`)
	if n := entries(); n != 1 {
		t.Errorf("the repeated dialogue was answered 202, and the log has %d entries, want 1", n)
	}
}
