package talk

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// TestReset: after a restore has replaced the data, the service goes on from what is stored, and not from what it
// remembers.
func TestReset(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	s := startService(t, url, Options{})
	for _, id := range []string{"1", "2", "3"} {
		stored(t, s, idB, say(idA, id))
	}
	s.Got(idB, idA, 3)
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), s.opts.Talks.Stream())
	if err != nil {
		t.Fatal(err)
	}
	// The backup has the first dialogue alone, and no cursors.
	head, err := s.opts.Talks.Last(t.Context(), kv.PairOf(idA, idB))
	if err != nil {
		t.Fatal(err)
	}
	for head.First > 1 {
		if err := stream.DeleteMsg(t.Context(), head.Seq); err != nil {
			t.Fatal(err)
		}
		if head, err = s.opts.Talks.Before(t.Context(), head); err != nil {
			t.Fatal(err)
		}
	}
	s.Reset()
	if o := stored(t, s, idB, say(idA, "2")); o.d.N != 2 || o.again {
		t.Errorf("stored as %d, again %t, want 2", o.d.N, o.again)
	}
	cursors, err := s.Cursors(t.Context(), idB)
	if err != nil {
		t.Fatal(err)
	}
	if got := cursors[idA].Got; got != 0 {
		t.Errorf("the cursor of before the restore is %d", got)
	}
}
