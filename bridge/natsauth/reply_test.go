package natsauth_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/subject"
	"imctl/kv"
)

// TestReplyElsewhere checks that the server does not reply to a subject to which the requester may not publish.
func TestReplyElsewhere(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p, victim := s.RegisterFriends(t)
	user := s.AsUser(t, p)
	ctx := t.Context()
	seen, err := s.NC.SubscribeSync("im.user." + victim.ID + ".>")
	if err == nil {
		err = s.NC.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{
		"$JS.API.STREAM.PURGE.KV_im_users", "$JS.API.STREAM.DELETE.KV_im_users", "im.user." + victim.ID + ".notice", "im.admin.user.delete",
		"$KV.im_users.user." + victim.ID, subject.Inbox(victim.ID) + ".x", subject.Inbox(p.ID) + "x",
	} {
		for subject, request := range map[string]string{
			"im.send." + p.ID: dialogue(`"x"`, kv.NewID(), `"y"`), "im.call." + p.ID + ".found": `{"name":"nobody"}`, "im.call." + p.ID + ".none": ``,
		} {
			if err := user.PublishRequest(subject, reply, []byte(request)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The bridge answers in order, and its answers to the requests above, if any, came before these.
	for _, subject := range []string{"im.send." + p.ID, "im.call." + p.ID + ".found"} {
		if _, err := user.Request(subject, []byte(`{"name":"nobody"}`), bridgetest.WaitTimeout); err != nil {
			t.Fatal(err)
		}
	}

	consumer := s.AsAttachment(t, s.AddAttachment(t, "archive", kv.RoleConsumer, ""))
	const next = "$JS.API.CONSUMER.MSG.NEXT.IM_LOG.archive"
	for _, bucket := range []string{"im_users", "im_tokens", "im_friendships"} {
		// The answer that there are no messages has an empty body, like a request to delete a stream.
		if err := consumer.PublishRequest(next, "$JS.API.STREAM.DELETE.KV_"+bucket, []byte(`{"batch":1,"no_wait":true}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := consumer.PublishRequest(next, "im.user."+victim.ID+".notice", []byte(`{"batch":1,"no_wait":true}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.Request(next, []byte(`{"batch":1,"no_wait":true}`), bridgetest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(s.NC)
	if err != nil {
		t.Fatal(err)
	}
	// JetStream processes requests in order.
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "last", Subjects: []string{"last"}}); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"im_users", "im_tokens", "im_friendships"} {
		stream, err := js.Stream(ctx, "KV_"+bucket)
		if err != nil || stream.CachedInfo().State.Msgs == 0 {
			t.Errorf("bucket %s: %v", bucket, err)
		}
	}
	if err := s.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := seen.Pending(); err != nil || n != 0 {
		m, _ := seen.NextMsg(time.Second)
		t.Errorf("%d messages reached the other user, the first on %s: %s", n, m.Subject, m.Data)
	}
}

// TestAnswerers checks that a program that answers requests of the server publishes nothing else.
func TestAnswerers(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	for role, request := range map[kv.Role]string{kv.RoleModerator: "im.hook.register", kv.RoleAuth: "im.auth.login"} {
		c := s.AsAttachment(t, s.AddAttachment(t, "answers-"+string(role), role, ""))
		requests, err := c.SubscribeSync(request)
		if err == nil {
			err = c.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		replies, err := s.NC.SubscribeSync("replies." + string(role))
		if err == nil {
			err = s.NC.PublishRequest(request, replies.Subject, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := requests.NextMsg(bridgetest.WaitTimeout)
		if err != nil {
			t.Fatal(err)
		}
		wantAllowed(t, "the answer", tried(t, c, func(subject string) error { return c.Publish(subject, []byte("first")) }, m.Reply), true)
		wantAllowed(t, "a second answer", tried(t, c, func(subject string) error { return c.Publish(subject, []byte("second")) }, m.Reply), false)
		wantAllowed(t, "an answer that was not asked for", tried(t, c, func(subject string) error { return c.Publish(subject, nil) }, "replies.other"), false)
		if got, err := replies.NextMsg(bridgetest.WaitTimeout); err != nil || string(got.Data) != "first" {
			t.Errorf("%s: the first answer is %v, %v", role, got, err)
		}
		if n, _, err := replies.Pending(); n != 0 || err != nil {
			t.Errorf("%s: %d more answers, %v", role, n, err)
		}
	}
}
