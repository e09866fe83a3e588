package eventlog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
)

func TestStream(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	config := func() jetstream.StreamConfig {
		s, err := js.Stream(t.Context(), "X_LOG")
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Config
	}
	startLog(t, url, Options{Prefix: "x", MaxAge: time.Hour, MaxBytes: 1 << 20})
	c := config()
	if c.Retention != jetstream.LimitsPolicy || c.Storage != jetstream.FileStorage || c.Discard != jetstream.DiscardNew || !c.AllowAtomicPublish ||
		c.MaxAge != time.Hour || c.MaxBytes != 1<<20 || len(c.Subjects) != 1 || c.Subjects[0] != "x.log.>" {
		t.Errorf("it is %+v", c)
	}
	// What would drop entries in silence is mended, what an operator added stays.
	c.Description, c.Discard, c.MaxMsgs, c.MaxMsgsPerSubject, c.AllowAtomicPublish = "ours", jetstream.DiscardOld, 10, 1, false
	c.Retention = jetstream.InterestPolicy // as earlier versions had it
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	startLog(t, url, Options{Prefix: "x", MaxAge: time.Minute, MaxBytes: 2 << 20})
	if c := config(); c.Description != "ours" || c.Retention != jetstream.LimitsPolicy || c.Discard != jetstream.DiscardNew || c.MaxMsgs != -1 || c.MaxMsgsPerSubject != -1 ||
		!c.AllowAtomicPublish || c.MaxAge != time.Minute || c.MaxBytes != 2<<20 {
		t.Errorf("it is %+v", c)
	}
}

func TestStreamDoesNotFit(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	nc := natstest.Connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for why, change := range map[string]func(*jetstream.StreamConfig){
		"its subjects":  func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere." + c.Name} },
		"its retention": func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"Memory":        func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"acknowledge":   func(c *jetstream.StreamConfig) { c.NoAck, c.AllowAtomicPublish = true, false },
		"copies":        func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "S"}} },
		"before it has stored": func(c *jetstream.StreamConfig) {
			c.AllowAtomicPublish, c.PersistMode = false, jetstream.AsyncPersistMode
		},
		"changes the subjects": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: c.Subjects[0], Destination: "other.>"}
		},
		"takes subjects of": func(c *jetstream.StreamConfig) { c.Name = "OTHER" },
	} {
		n++
		prefix := fmt.Sprint("p", n)
		c := streamConfig(Options{Prefix: prefix}.withDefaults())
		change(&c)
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		_, err := Open(t.Context(), nc, natstest.Dialer(url), Options{Prefix: prefix})
		if !errors.Is(err, ErrStream) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	_, err = Open(t.Context(), nc, natstest.Dialer(url), Options{MaxBytes: 1 << 50})
	if !errors.Is(err, ErrStream) || !strings.Contains(err.Error(), "nats.log.max_bytes") {
		t.Errorf("more bytes than there are: %v", err)
	}
}

// Deleted by somebody while the server runs, the stream comes back, and a consumer can be attached to it.
func TestStreamIsDeleted(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	l := startLog(t, url, Options{})
	if err := l.js.DeleteStream(t.Context(), l.stream); err != nil {
		t.Fatal(err)
	}
	if _, err := l.count(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := state(t, l); s.Consumers != 0 {
		t.Errorf("the new stream is %+v", s)
	}
	consumer(t, l, url, "d")
	if !l.Attached() {
		t.Error("the consumer is not known")
	}
}
