package talk

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// plainly makes a dialogue of a session that does not know of kept conversations.
func plainly(from, id string) kv.Dialogue {
	d := say(from, id)
	d.Kept = false
	return d
}

// silence has NATS swallow the records of the conversations: it takes them, stores none and acknowledges none. heard takes
// a value for each.
func silence(t *testing.T, url string) (heard chan string, end func()) {
	t.Helper()
	nc := natstest.Connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "IM_TALKS")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	subjects := config.Subjects
	config.Subjects = []string{"im.elsewhere"}
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	heard = make(chan string, 64)
	sub, err := nc.Subscribe(subjects[0], func(m *nats.Msg) {
		select {
		case heard <- m.Subject:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return heard, func() {
		if err := sub.Unsubscribe(); err != nil {
			t.Error(err)
		}
		config.Subjects = subjects
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Error(err)
		}
	}
}

// While a commit has no answer, plain dialogues come back to their sender in order, and those in the commit are refused in
// time. Delivered ones are stored afterwards, and a Kept one waits.
func TestStalledCommit(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	s := startService(t, url, Options{StallAfter: 100 * time.Millisecond})
	stored(t, s, idB, say(idA, "1"))
	heard, end := silence(t, url)
	doubted := add(t, s, idB, plainly(idA, "doubted"))
	<-heard
	kept := add(t, s, idC, say(idA, "kept"))
	behind := make(result, 3)
	for i := range 3 {
		if err := s.Add(idB, plainly(idA, fmt.Sprint(i)), behind); err != nil {
			t.Fatal(err)
		}
	}
	if o := <-doubted; o.err == nil || errors.Is(o.err, ErrStalled) {
		t.Errorf("in a commit without an answer: %+v", o)
	}
	for i := range 3 {
		if o := <-behind; !errors.Is(o.err, ErrStalled) || string(o.d.ID) != fmt.Sprintf(`"%d"`, i) {
			t.Errorf("behind it: %+v", o)
		}
	}
	wait(t, "no more wait", func() bool { return errors.Is(s.Add(idB, plainly(idA, "3"), make(result, 1)), ErrStalled) })
	if !s.Stalled() {
		t.Error("the service is not stalled")
	}
	live := make(result, 4)
	for i := range 4 {
		s.AddLive(idB, plainly(idA, fmt.Sprint(i)), live)
	}
	end()
	if o := <-kept; o.err != nil || o.d.N != 1 {
		t.Errorf("Kept: %+v", o)
	}
	for i := range 4 {
		if o := <-live; o.err != nil || o.d.N != uint64(i+2) || !o.d.Live || string(o.d.ID) != fmt.Sprintf(`"%d"`, i) {
			t.Errorf("delivered: %+v", o)
		}
	}
	wait(t, "not stalled", func() bool { return !s.Stalled() })
	if o := stored(t, s, idB, plainly(idA, "last")); o.d.N != 6 || o.d.Live {
		t.Errorf("afterwards: %+v", o)
	}
	checkNumbered(t, read(t, s, kv.PairOf(idA, idB)), 6)
}

// A fixed dialogue waits for the store, and later plain ones of its conversation behind it.
func TestStalledFixed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := natstest.Run(t, dir, -1)
	url, port := srv.ClientURL(), srv.Addr().(*net.TCPAddr).Port
	s := startService(t, url, Options{})
	stored(t, s, idB, say(idA, "1"))
	natstest.Stop(srv)
	wait(t, "disconnected", func() bool { return !s.nc.IsConnected() })
	if o := <-add(t, s, idB, plainly(idA, "back")); !errors.Is(o.err, ErrStalled) {
		t.Errorf("plain: %+v", o)
	}
	fixed := make(result, 1)
	wait(t, "fixed", func() bool { return s.AddFixed(idB, plainly(idA, "fixed"), fixed) == nil })
	behind := add(t, s, idB, plainly(idA, "behind"))
	srv = natstest.Run(t, dir, port)
	t.Cleanup(func() { natstest.Stop(srv) })
	for i, r := range []result{fixed, behind} {
		if o := <-r; o.err != nil || o.d.N != uint64(i+2) {
			t.Errorf("%d: %+v", i, o)
		}
	}
	closeService(t, s)
}

// While writes are refused, Kept dialogues are refused and plain ones come back. The delivered ones are bounded, and stored
// once writes are allowed.
func TestStalledByMayWrite(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	s := startService(t, newURL(t), Options{MayWrite: func() error {
		if full.Load() {
			return errTest
		}
		return nil
	}})
	full.Store(true)
	if err := s.Add(idB, say(idA, "kept"), make(result, 1)); !errors.Is(err, errTest) {
		t.Errorf("Kept: %v", err)
	}
	if err := s.Add(idB, plainly(idA, "plain"), make(result, 1)); !errors.Is(err, ErrStalled) {
		t.Errorf("plain: %v", err)
	}
	if err := s.AddFixed(idB, plainly(idA, "fixed"), make(result, 1)); !errors.Is(err, errTest) {
		t.Errorf("fixed: %v", err)
	}
	const more = 10
	live := make(result, lateDialogues+more)
	for i := range lateDialogues + more {
		s.AddLive(idB, plainly(idA, fmt.Sprint(i)), live)
	}
	if n := counter(t, s, "imctl_dialogues_live_dropped_total", ""); n != more {
		t.Errorf("%g are dropped, want %d", n, more)
	}
	full.Store(false)
	for i := range lateDialogues {
		if o := <-live; o.err != nil || o.d.N != uint64(i+1) || string(o.d.ID) != fmt.Sprintf(`"%d"`, i+more) {
			t.Fatalf("dialogue %d: %+v", i, o)
		}
	}
	if o := stored(t, s, idB, say(idA, "kept")); o.d.N != lateDialogues+1 {
		t.Errorf("afterwards: %+v", o)
	}
}
