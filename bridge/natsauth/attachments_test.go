package natsauth_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/kv"
)

// TestConsumer reads the log with only the context of an attachment.
func TestConsumer(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	a, b := s.RegisterFriends(t)
	sender, _ := s.Login(t, a)
	receiver, _ := s.Login(t, b)
	c := s.AsAttachment(t, s.AddAttachment(t, "archive", kv.RoleConsumer, "dialogue.>"))
	js, err := jetstream.New(c.Conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bridgetest.WaitTimeout)
	defer cancel()
	consumer, err := js.Consumer(ctx, "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	if got := consumer.CachedInfo().Config.FilterSubject; got != "im.log.dialogue.>" {
		t.Errorf("filter: %s", got)
	}
	const many = 20
	for i := range many {
		id := fmt.Sprintf(`"d%d"`, i)
		sender.Send(t, dialogue(id, b.ID, `"hello"`))
		receiver.Want(t, dialogueFrame(id, a.ID, `"hello"`))
		sender.Want(t, replyFrame(id, 200))
	}
	batch, err := consumer.Fetch(many/2, jetstream.FetchMaxWait(bridgetest.WaitTimeout))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for m := range batch.Messages() {
		n++
		if want := "im.log.dialogue." + a.ID + "." + b.ID; m.Subject() != want {
			t.Errorf("got %s, want %s", m.Subject(), want)
		}
		if err := m.DoubleAck(ctx); err != nil {
			t.Error(err)
		}
	}
	if n != many/2 || batch.Error() != nil {
		t.Fatalf("fetched %d (%v)", n, batch.Error())
	}
	got := make(chan string, many)
	consume, err := consumer.Consume(func(m jetstream.Msg) {
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
		got <- m.Subject()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer consume.Stop()
	for range many / 2 {
		select {
		case <-got:
		case <-ctx.Done():
			t.Fatal("timeout waiting for the remaining entries")
		}
	}
	eventually(t, "everything is acknowledged", func() bool {
		info, err := consumer.Info(ctx)
		return err == nil && info.NumAckPending == 0 && info.AckFloor.Consumer == many
	})
	select {
	case err := <-c.Errs:
		t.Errorf("unexpected permission error: %v", err)
	default:
	}
	// Removing the attachment removes its consumer with the unread entries.
	if err := s.Attachments.Remove(ctx, "archive"); err != nil {
		t.Fatal(err)
	}
	inside, err := jetstream.New(s.NC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.Consumer(ctx, "IM_LOG", "archive"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("removed: %v", err)
	}
}

// TestRepair interrupts the creation and the removal of attachments. The next start completes them and logs one line,
// or no line if there was nothing to complete.
func TestRepair(t *testing.T) {
	t.Parallel()
	o := bridgetest.Options{Dir: filepath.Join(t.TempDir(), "data")}
	ctx, s := t.Context(), bridgetest.Start(t, o)
	if _, _, err := s.Store.Attachments.Prepare(ctx, kv.Attachment{Name: "pending", Role: kv.RoleConsumer, Filter: ">"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kept", "revoked"} {
		s.AddAttachment(t, name, kv.RoleConsumer, "")
	}
	if _, err := s.Store.Attachments.Revoke(ctx, "revoked"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Attachments.List(ctx); err != nil || len(all) != 2 {
		t.Errorf("a pending attachment is listed: %v, %v", all, err)
	}
	s.Stop(t)

	s = bridgetest.Start(t, o)
	if n := strings.Count(s.Log(), `msg="repaired after an unclean stop" users=0 names=0 attachments=2`); n != 1 {
		t.Errorf("the repair was logged %d times, want once:\n%s", n, s.Log())
	}
	if all, err := s.Attachments.List(ctx); err != nil || len(all) != 1 || all[0].Name != "kept" {
		t.Errorf("unexpected attachments: %+v, %v", all, err)
	}
	if f, err := s.Store.Sweep(ctx, true); err != nil || f != (kv.Findings{}) {
		t.Errorf("a sweep found orphaned records: %+v, %v", f, err)
	}
	s.Stop(t)

	s = bridgetest.Start(t, o)
	if strings.Contains(s.Log(), "repaired") {
		t.Errorf("a start without repairs logged:\n%s", s.Log())
	}
}
