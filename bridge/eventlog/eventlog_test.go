package eventlog

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// startLog opens an event log alone.
func startLog(t testing.TB, url string, o Options) *Log {
	t.Helper()
	o.Registry = prometheus.NewRegistry()
	l, err := Open(t.Context(), natstest.Connect(t, url), natstest.Dialer(url), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

// consumer makes a durable pull consumer and has the log take notice.
func consumer(t testing.TB, l *Log, url, name string, filters ...string) jetstream.Consumer {
	t.Helper()
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateConsumer(t.Context(), l.stream, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy,
		FilterSubjects: filters, MaxAckPending: 100_000, AckWait: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// verdicts collects what senders are told.
type verdicts struct{ oks chan bool }

func (v *verdicts) Logged(ok bool) { v.oks <- ok }

const (
	idA = "0123456789abcdef0123456789abcdef"
	idB = "fedcba9876543210fedcba9876543210"
)

// delivered returns a dialogue that was delivered a moment ago.
func delivered(v *verdicts, id, payload string) Dialogue {
	return Dialogue{From: idA, To: idB, ID: []byte(`"` + id + `"`), Payload: []byte(payload), Sent: time.Now(), Done: v}
}

// wait calls done until it is true. What it waits for gives no signal.
func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
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

func state(t testing.TB, l *Log) jetstream.StreamState {
	t.Helper()
	s, err := l.js.Stream(context.Background(), l.stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State
}

func TestWithoutConsumers(t *testing.T) {
	t.Parallel()
	l := startLog(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), Options{})
	if l.Attached() {
		t.Fatal("attached without a consumer")
	}
	if l.AddDialogue(delivered(nil, "1", `"p"`)) {
		t.Error("a dialogue waits for the log")
	}
	l.User(UserCreated, kv.User{ID: idA})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := state(t, l); s.LastSeq != 0 {
		t.Errorf("%d messages were published", s.LastSeq)
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	c := consumer(t, l, url, "all")
	v := &verdicts{make(chan bool, 1)}
	f := delivered(v, "x", `"a \"b\" \u2028"`)
	if !l.AddDialogue(f) {
		t.Fatal("the dialogue does not wait")
	}
	if ok := <-v.oks; !ok {
		t.Fatalf("ok is %t", ok)
	}
	l.User(UserCreated, kv.User{ID: idA, Account: "a", PasswordHash: "$secret", Mail: "m@example.org", Profile: kv.Profile{Name: "Al"}})
	l.Friend(kv.Change{Kind: kv.Requested, A: idA, B: idB, Request: kv.Request{Note: "hi"}})
	l.Friend(kv.Change{Kind: kv.Unchanged, A: idA, B: idB})
	l.Session(SessionEnded, idA, "s1", "n1")
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for m := range fetch(t, c, 4) {
		var e struct {
			V    int
			Time string
		}
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, e.Time)
		if e.V != 1 || err != nil || time.Since(at) > time.Minute || len(e.Time) != len("2006-01-02T15:04:05.000000000Z") {
			t.Errorf("%s is version %d of %q", m.Subject(), e.V, e.Time)
		}
		got = append(got, m.Subject()+" "+strings.Replace(string(m.Data()), e.Time, "T", 1))
	}
	want := []string{
		"im.log.dialogue." + idA + "." + idB + ` {"v":1,"time":"T","id":"x","from":"` + idA + `","to":"` + idB + `","payload":"a \"b\" \u2028"}`,
		"im.log.user.created." + idA + ` {"v":1,"time":"T","user":"` + idA + `","account":"a","name":"Al"}`,
		"im.log.friend.requested." + idA + "." + idB + ` {"v":1,"time":"T","from":"` + idA + `","to":"` + idB + `","note":"hi"}`,
		"im.log.session.ended." + idA + ` {"v":1,"time":"T","user":"` + idA + `","session":"s1","node":"n1"}`,
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// fetch takes n messages and acknowledges them.
func fetch(t testing.TB, c jetstream.Consumer, n int) <-chan jetstream.Msg {
	t.Helper()
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan jetstream.Msg, n)
	for m := range batch.Messages() {
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
		out <- m
	}
	close(out)
	return out
}
