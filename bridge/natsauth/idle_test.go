package natsauth_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/eventlog"
	"imctl/kv"
)

// fill sends dialogues until the log holds some for a consumer, and returns a reading of its usage as if it was nearly
// full.
func fill(t *testing.T, s *bridgetest.Server, entries int) func() eventlog.Usage {
	t.Helper()
	a, b := s.RegisterFriends(t)
	sender, _ := s.Login(t, a)
	receiver, _ := s.Login(t, b)
	for range entries {
		sender.Send(t, dialogue(`"x"`, b.ID, `"hello"`))
		receiver.Want(t, dialogueFrame(`"x"`, a.ID, `"hello"`))
		sender.Want(t, replyFrame(`"x"`, 200))
	}
	js, err := jetstream.New(s.NC)
	if err != nil {
		t.Fatal(err)
	}
	return func() eventlog.Usage {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), bridgetest.WaitTimeout)
		defer cancel()
		u, err := eventlog.NewReader(js, "im").Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		u.MaxBytes = int64(u.Bytes) * 100 / 85
		return u
	}
}

// rounds is how often a test looks after consumers, with nearly no patience.
const rounds = 5

// TestLiveConsumerStays looks after a consumer whose program is connected, and takes no entries.
func TestLiveConsumerStays(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	live := s.AsAttachment(t, s.AddAttachment(t, "live", kv.RoleConsumer, "dialogue.>"))
	usage := fill(t, s, 3)
	for range rounds {
		if gone, err := s.Attachments.Tend(t.Context(), usage(), time.Nanosecond); err != nil || len(gone) > 0 {
			t.Fatalf("detached: %+v, %v", gone, err)
		}
	}
	// It is detached for nothing else than its absence.
	live.Close()
	eventually(t, "the consumer is detached after its program has gone", func() bool {
		gone, err := s.Attachments.Tend(t.Context(), usage(), time.Nanosecond)
		if err != nil {
			t.Fatal(err)
		}
		return len(gone) == 1 && gone[0].Name == "live" && gone[0].Detached.Entries == 3
	})
}

// TestDetachConditions checks that a consumer is not detached while the log has room, or if nats.log.idle is off.
func TestDetachConditions(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	s.AddAttachment(t, "gone", kv.RoleConsumer, "")
	usage := fill(t, s, 3)
	roomy := func() eventlog.Usage {
		u := usage()
		u.MaxBytes *= 2
		return u
	}
	for range rounds {
		if gone, err := s.Attachments.Tend(t.Context(), roomy(), time.Nanosecond); err != nil || len(gone) > 0 {
			t.Fatalf("detached from a log with room: %+v, %v", gone, err)
		}
		if gone, err := s.Attachments.Tend(t.Context(), usage(), 0); err != nil || len(gone) > 0 {
			t.Fatalf("detached although that is off: %+v, %v", gone, err)
		}
		if gone, err := s.Attachments.Tend(t.Context(), usage(), time.Hour); err != nil || len(gone) > 0 {
			t.Fatalf("detached too early: %+v, %v", gone, err)
		}
	}
}

// TestDetachOnce has several nodes look after a forgotten consumer at once. Its program comes back, gets a new consumer
// at its login, and entries from then on.
func TestDetachOnce(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	credentials := s.AddAttachment(t, "archive", kv.RoleConsumer, "dialogue.>")
	usage := fill(t, s, 5)
	ctx := t.Context()
	if _, err := s.Attachments.Tend(ctx, usage(), time.Hour); err != nil { // the first note
		t.Fatal(err)
	}
	u := usage()
	var wg sync.WaitGroup
	var detached atomic.Int64
	for range 6 {
		wg.Go(func() {
			gone, err := s.Attachments.Tend(ctx, u, time.Nanosecond)
			if err != nil {
				t.Error(err)
			}
			detached.Add(int64(len(gone)))
		})
	}
	wg.Wait()
	if detached.Load() != 1 {
		t.Errorf("the consumer was detached %d times", detached.Load())
	}
	all, err := s.Attachments.Statuses(ctx)
	if err != nil || len(all) != 1 || !all[0].IsDetached() || all[0].Consumer != nil || all[0].Detached.Entries < 5 {
		t.Fatalf("the attachments are %+v, %v", all, err)
	}

	c := s.AsAttachment(t, credentials)
	js, err := jetstream.New(c.Conn)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(ctx, "IM_LOG", "archive")
	if err != nil {
		t.Fatalf("the program has no consumer after its login: %v", err)
	}
	if n := consumer.CachedInfo().NumPending; n != 0 {
		t.Errorf("the new consumer has %d entries already", n)
	}
	if !strings.Contains(s.Log(), "the program of a detached consumer is back") {
		t.Error("the return is not logged")
	}
	fill(t, s, 1)
	if m, err := consumer.Next(jetstream.FetchMaxWait(bridgetest.WaitTimeout)); err != nil || !strings.HasPrefix(m.Subject(), "im.log.dialogue.") {
		t.Errorf("the new consumer got %v, %v", m, err)
	}
	all, err = s.Attachments.Statuses(ctx)
	if err != nil || len(all) != 1 || all[0].IsDetached() || all[0].Consumer == nil || all[0].Detached.Entries < 5 || all[0].Seen.IsZero() {
		t.Errorf("the attachments are %+v, %v", all, err)
	}
	state, err := s.Store.States.Get(ctx)
	if err != nil || state.Streams["IM_LOG/archive"].IsZero() {
		t.Errorf("the state does not expect the new consumer: %v, %v", state.Streams, err)
	}
}

// TestSeenLasts checks that the time at which a program was last seen outlives NATS, which forgets it.
func TestSeenLasts(t *testing.T) {
	t.Parallel()
	o := bridgetest.Options{Dir: t.TempDir() + "/data"}
	s := bridgetest.Start(t, o)
	before := time.Now()
	c := s.AsAttachment(t, s.AddAttachment(t, "archive", kv.RoleConsumer, ""))
	usage := fill(t, s, 1)
	if _, err := s.Attachments.Tend(t.Context(), usage(), time.Hour); err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.Stop(t)
	s = bridgetest.Start(t, o)
	all, err := s.Attachments.Statuses(t.Context())
	if err != nil || len(all) != 1 || all[0].Seen.Before(before.Truncate(time.Second)) || all[0].Consumer == nil || !all[0].Consumer.Seen.IsZero() {
		t.Errorf("after a restart: %+v, %v", all, err)
	}
}
