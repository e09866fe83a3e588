package webhook

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// deleteStream deletes the stream of webhooks, as an operator may.
func (f *fixture) deleteStream(t *testing.T) {
	t.Helper()
	js, err := jetstream.New(natstest.Connect(t, f.url))
	if err == nil {
		err = js.DeleteStream(t.Context(), "IM_WEBHOOKS")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lost returns the names of the streams and consumers that a start would miss.
func (f *fixture) lost(t *testing.T) []string {
	t.Helper()
	_, err := kv.Open(t.Context(), natstest.Connect(t, f.url), kv.Options{})
	var lost *kv.LostError
	if errors.As(err, &lost) {
		return lost.Names
	}
	if err != nil {
		t.Fatal(err)
	}
	return nil
}

// TestStreamDeleted: a stream that is deleted while nodes run is logged as an error and created again. The webhook goes
// on, and the next start reports the loss, also if webhooks are added meanwhile. While no webhook was ever added, no
// stream is expected.
func TestStreamDeleted(t *testing.T) {
	t.Parallel()
	f := setUp(t, quick())
	if _, err := f.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	f.hasten(t)
	f.start(t, nil)
	f.start(t, nil)
	f.created("before")
	f.next()
	if lost := f.lost(t); lost != nil {
		t.Fatalf("a start misses %v", lost)
	}
	f.deleteStream(t)
	f.created("after")
	if e := f.next(); e.body.Data["name"] != "after" {
		t.Errorf("posted: %+v", e)
	}
	if n := strings.Count(f.log.String(), "the stream of webhooks is missing: creating it"); n == 0 || !strings.Contains(f.log.String(), "level=ERROR") {
		t.Errorf("it is logged %d times", n)
	}
	if _, _, err := f.Add(t.Context(), kv.Webhook{Name: "second", URL: f.srv.URL, Events: []string{"report"}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Expect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lost := f.lost(t); !slices.Equal(lost, []string{"IM_WEBHOOKS"}) {
		t.Errorf("a start misses %v", lost)
	}
}

// TestStreamNoted: a start notes the stream of an installation that has webhooks but no note, and creates it if a
// restored backup does not have it.
func TestStreamNoted(t *testing.T) {
	t.Parallel()
	f := setUp(t, Settings{})
	f.add(t, kv.Webhook{Events: []string{"user.*"}})
	for _, deleted := range []bool{false, true} {
		if err := f.store.States.Forget(t.Context(), "IM_WEBHOOKS"); err != nil {
			t.Fatal(err)
		}
		if deleted {
			f.deleteStream(t)
		}
		if err := f.Expect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lost := f.lost(t); lost != nil {
			t.Errorf("a start misses %v", lost)
		}
		f.deleteStream(t)
		if lost := f.lost(t); !slices.Equal(lost, []string{"IM_WEBHOOKS"}) {
			t.Errorf("without the stream a start misses %v", lost)
		}
		if err := f.queue.recreate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(f.log.String(), `msg="the stream of webhooks is missing: creating it, empty"`) {
		t.Error("the creation is not logged")
	}
}
