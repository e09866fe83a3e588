package kv

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// No concurrent update of the state is lost, and an update that changes nothing is not written.
func TestStateUpdate(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	for i, err := range atOnce(8, func(i int) error {
		_, err := s.States.Update(ctx, func(state *State) error {
			state.Streams[fmt.Sprint("x", i)] = time.Unix(int64(i), 0)
			return nil
		})
		return err
	}) {
		if err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	}
	state, revision, err := s.States.read(ctx)
	if err != nil || len(state.Streams) != 8+4 || state.Format != currentFormat || state.Slot != "" {
		t.Fatalf("the state is %+v, %v", state, err)
	}
	refused := errors.New("refused")
	if _, err := s.States.Update(ctx, func(*State) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Update: %v, want %v", err, refused)
	}
	if _, err := s.States.Update(ctx, func(*State) error { return nil }); err != nil {
		t.Error(err)
	}
	if _, after, err := s.States.read(ctx); after != revision || err != nil {
		t.Errorf("updates without a change changed the revision from %d to %d, %v", revision, after, err)
	}
}

// A stream or consumer that must exist is lost if it is missing or was created again, unless its loss is accepted or
// Forget was called before.
func TestLost(t *testing.T) {
	t.Parallel()
	nc := connect(t, startServer(t, t.TempDir(), false))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	var remembered map[string]time.Time
	o := Options{Log: testLog(t), Remember: func(streams map[string]time.Time) error {
		remembered = maps.Clone(streams)
		return nil
	}}
	s := openStore(t, nc, o)
	createLog := func() jetstream.Stream {
		t.Helper()
		stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "IM_LOG", Subjects: []string{"im.log.>"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"archiver", "bot"} {
			if _, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: name}); err != nil {
				t.Fatal(err)
			}
		}
		return stream
	}
	log := createLog()
	if _, err := s.States.Expect(ctx, "IM_LOG", "IM_LOG/archiver", "IM_LOG/bot"); err != nil {
		t.Fatal(err)
	}
	expectLost := func(what string, want ...string) {
		t.Helper()
		_, err := Open(ctx, nc, o)
		var lost *LostError
		if errors.As(err, &lost); len(want) == 0 && err != nil || len(want) > 0 && (lost == nil || !slices.Equal(lost.Names, want)) {
			t.Errorf("%s: Open: %v, want lost %q", what, err, want)
		}
	}
	expectLost("nothing lost")
	if err := log.DeleteConsumer(ctx, "archiver"); err != nil {
		t.Fatal(err)
	}
	expectLost("a missing consumer", "IM_LOG/archiver")
	if _, err := log.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "archiver"}); err != nil {
		t.Fatal(err)
	}
	expectLost("a consumer created again", "IM_LOG/archiver")
	o.AcceptLoss = []string{"IM_LOG/archiver"}
	expectLost("accepted")
	o.AcceptLoss = nil
	expectLost("accepted before")
	if err := s.States.Forget(ctx, "IM_LOG/bot"); err != nil {
		t.Fatal(err)
	}
	if err := log.DeleteConsumer(ctx, "bot"); err != nil {
		t.Fatal(err)
	}
	expectLost("a consumer deleted after Forget")
	if _, err := s.States.Expect(ctx, "IM_LOG/archiver"); err != nil {
		t.Fatal(err)
	}

	if err := js.DeleteStream(ctx, "IM_LOG"); err != nil {
		t.Fatal(err)
	}
	expectLost("a missing stream with its consumer", "IM_LOG", "IM_LOG/archiver")
	createLog()
	expectLost("a stream created again", "IM_LOG", "IM_LOG/archiver")
	o.AcceptLoss = []string{"IM_LOG"}
	expectLost("accepted with its consumers")
	o.AcceptLoss = nil
	if _, err := s.States.Expect(ctx, "IM_LOG"); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"KV_im_state", "KV_im_users"} {
		if err := js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	o.Expected = maps.Clone(remembered)
	expectLost("a missing state, with Options.Expected", "KV_im_state", "KV_im_users")
	if _, err := js.Stream(ctx, "KV_im_users"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a failed Open created a stream: %v", err)
	}
	o.AcceptLoss = []string{"KV_im_state", "KV_im_users"}
	expectLost("accepted")
	o.AcceptLoss, o.Expected = nil, maps.Clone(remembered)
	expectLost("created again")
}

// Options.Remember is called last with the latest state, although a call with an earlier state takes longer.
func TestStateIsRemembered(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	late, written := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex // guards remembered
	var remembered map[string]time.Time
	s := newStore(t, Options{Remember: func(streams map[string]time.Time) error {
		if _, first := streams["first"]; first && len(streams) == 4+1 {
			close(late)
			<-written
		}
		mu.Lock()
		defer mu.Unlock()
		remembered = maps.Clone(streams)
		return nil
	}})
	note := func(name string) error {
		_, err := s.States.Update(ctx, func(state *State) error {
			state.Streams[name] = time.Unix(1, 0)
			return nil
		})
		return err
	}
	errs := make(chan error, 2)
	go func() { errs <- note("first") }()
	<-late
	go func() { errs <- note("second") }()
	eventually(t, "the second update is written", func() bool {
		state, _, err := s.States.read(ctx)
		_, second := state.Streams["second"]
		return err == nil && second
	})
	// A call for the second update that does not wait for the first call would have returned.
	eventually(t, "Remember is called for the second update, or waits", func() bool {
		mu.Lock()
		defer mu.Unlock()
		_, second := remembered["second"]
		if !second && s.States.remembering.TryLock() {
			s.States.remembering.Unlock()
			return false
		}
		return true
	})
	close(written)
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if _, second := remembered["second"]; !second {
		t.Errorf("the last call of Remember had %v, want it to have second", remembered)
	}
}
