package natsauth_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/subject"
	"imctl/embedded"
	"imctl/kv"
)

// accountHash returns the hash of an account's name in the newer form of acknowledgement subjects.
func accountHash(account string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(account))
	hash := make([]byte, 8)
	for i := range hash {
		hash[i] = digits[int(sum[i]%byte(len(digits)))]
	}
	return string(hash)
}

// TestAcknowledgeOthers checks that a consumer cannot fetch or acknowledge the entries of another consumer, with
// either form of acknowledgement subjects, and whatever its name is: each attempt is refused, or has no effect.
func TestAcknowledgeOthers(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	hash := accountHash(embedded.Account)
	a, b := s.RegisterFriends(t)
	sender, _ := s.Login(t, a)
	receiver, _ := s.Login(t, b)
	s.AddAttachment(t, "archiver", kv.RoleConsumer, "dialogue.>")
	sender.Send(t, dialogue(`"d"`, b.ID, `"hello"`))
	receiver.Want(t, dialogueFrame(`"d"`, a.ID, `"hello"`))
	sender.Want(t, replyFrame(`"d"`, 200))
	js, err := jetstream.New(s.NC)
	if err != nil {
		t.Fatal(err)
	}
	archiver, err := js.Consumer(t.Context(), "IM_LOG", "archiver")
	if err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"usersonly", "IM_LOG-1", "_INBOX", "1", "IM_LOG"} {
		// Earlier versions allowed the last names.
		_, secret, err := s.Store.Attachments.Add(t.Context(), kv.Attachment{Name: name, Role: kv.RoleConsumer, Filter: "user.>"})
		if err != nil {
			t.Fatal(err)
		}
		s.Secret(secret)
		attacker := bridgetest.Connect(t, s.NATS.URL(), name, secret, subject.Inbox(name))
		inbox := subject.Inbox(name) + ".x"
		got, err := attacker.SubscribeSync(inbox)
		if err == nil {
			err = attacker.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, ack := range []string{
			"$JS.ACK.IM_LOG.archiver.IM_LOG." + name + ".1.1.1",
			"$JS.ACK.IM_LOG.archiver.1.1.1.1.0",
			"$JS.ACK._." + hash + ".IM_LOG.archiver.1.1.1.1.0",
			"$JS.ACK._." + hash + ".IM_LOG.archiver.IM_LOG." + name + ".1.1.1",
			"$JS.ACK._." + hash + ".IM_LOG.archiver.IM_LOG." + name + ".1.1.1.1.0",
			"$JS.ACK.IM_LOG." + name + ".IM_LOG.archiver.1.1.1.1.0",
			"$JS.ACK._." + hash + ".IM_LOG." + name + ".IM_LOG.archiver.1.1.1.1.0",
		} {
			for _, body := range []string{"+NXT", "+ACK", "+TERM"} {
				m := nats.NewMsg(ack)
				m.Reply, m.Data = inbox, []byte(body)
				m.Header.Set("Nats-Trace-Dest", inbox)
				err := errors.Join(attacker.PublishMsg(m), attacker.PublishRequest(ack, inbox, []byte(body)))
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		// NATS handles the messages of one connection in order.
		if err := attacker.FlushTimeout(bridgetest.WaitTimeout); err != nil {
			t.Fatal(err)
		}
		info, err := archiver.Info(t.Context())
		if err != nil || info.NumPending != 1 || info.Delivered.Consumer != 0 || info.AckFloor.Consumer != 0 {
			t.Fatalf("consumer %s: the archiver's state: %+v, %v", name, info, err)
		}
		if m, err := got.NextMsg(100 * time.Millisecond); err == nil && strings.Contains(string(m.Data), "hello") {
			t.Errorf("consumer %s received the archiver's entry: %s", name, m.Data)
		}
	}
}

// TestAcknowledgeForms checks that a consumer may acknowledge its own entries with both forms.
func TestAcknowledgeForms(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	a, b := s.RegisterFriends(t)
	sender, _ := s.Login(t, a)
	receiver, _ := s.Login(t, b)
	c := s.AsAttachment(t, s.AddAttachment(t, "archive", kv.RoleConsumer, "dialogue.>"))
	for _, id := range []string{`"1"`, `"2"`} {
		sender.Send(t, dialogue(id, b.ID, `"hello"`))
		receiver.Want(t, dialogueFrame(id, a.ID, `"hello"`))
		sender.Want(t, replyFrame(id, 200))
	}
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
	batch, err := consumer.Fetch(2, jetstream.FetchMaxWait(bridgetest.WaitTimeout))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for m := range batch.Messages() {
		n++
		ack := m.Reply()
		if n == 2 { // the other form
			rest, ok := strings.CutPrefix(ack, "$JS.ACK.IM_LOG.archive.")
			if !ok {
				t.Fatalf("unexpected acknowledgement subject %s", ack)
			}
			ack = fmt.Sprintf("$JS.ACK._.%s.IM_LOG.archive.%s", accountHash(embedded.Account), rest)
		}
		if _, err := c.RequestWithContext(ctx, ack, []byte("+ACK")); err != nil {
			t.Errorf("acknowledge on %s: %v", ack, err)
		}
	}
	info, err := consumer.Info(ctx)
	if err != nil || n != 2 || info.AckFloor.Consumer != 2 || info.NumAckPending != 0 {
		t.Errorf("fetched %d, state %+v, %v", n, info, err)
	}
}

// TestMistakableNames checks that no attachment has a name that could stand for a number, a user or a stream.
func TestMistakableNames(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	s.Register(t)
	for _, name := range []string{"1", "0123456789", kv.NewID(), "IM_LOG", "IM_LOG_RESTORE", "IM_TALKS"} {
		if _, _, err := s.Attachments.Add(t.Context(), name, kv.RoleConsumer, ""); !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("attachment %q: got error %v", name, err)
		}
	}
}
