package cmd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
	"imctl/kv"
)

// roles are those who log in to NATS. SELF is the user's own id in what follows, and the consumer's own name; OTHER is
// another user's, and OTHERS another consumer.
var roles = []string{"user", "consumer", "bridge", "admin"}

// mayPublish lists the roles that may publish to a subject. All other roles are refused.
var mayPublish = []struct {
	subject string
	roles   string
}{
	{"im.send.SELF", "user bridge admin"},
	{"im.call.SELF.found", "user bridge admin"},
	{"im.send.OTHER", "bridge admin"},
	{"im.call.OTHER.profile", "bridge admin"},
	{"im.user.SELF.dialogue", "bridge admin"},
	{"im.user.OTHER.dialogue", "bridge admin"},
	{"im.user.OTHER.notice", "bridge admin"},
	{"im.node.0123456789abcdef", "bridge admin"},
	{"im.log.dialogue.OTHER.SELF", "bridge admin"},
	{"im.admin.none.list", "admin"},
	{"im.admin.none.delete", "admin"},
	{"$SRV.PING", "admin"},
	{"$SRV.INFO.imctl", "admin"},
	{"_INBOX.SELF.x", "bridge admin"},
	{"_INBOX.OTHER.x", "bridge admin"},
	{"$KV.im_users.none", "bridge admin"},
	{"$KV.im_tokens.none", "bridge admin"},
	{"$KV.im_friendships.none", "bridge admin"},
	{"$KV.foreign.none", "admin"},
	{"$JS.API.INFO", "bridge admin"},
	{"$JS.API.STREAM.LIST", "bridge admin"},
	{"$JS.API.STREAM.CREATE.own", "bridge admin"},
	{"$JS.API.STREAM.INFO.KV_im_users", "bridge admin"},
	{"$JS.API.STREAM.MSG.GET.KV_im_users", "bridge admin"},
	{"$JS.API.DIRECT.GET.KV_im_users.$KV.im_users.user.OTHER", "bridge admin"},
	{"$JS.API.STREAM.INFO.IM_LOG", "bridge admin"},
	{"$JS.API.STREAM.MSG.GET.IM_LOG", "bridge admin"},
	{"$JS.API.CONSUMER.CREATE.IM_LOG.own", "bridge admin"},
	{"$JS.API.CONSUMER.DURABLE.CREATE.IM_LOG.own", "bridge admin"},
	{"$JS.API.CONSUMER.LIST.IM_LOG", "bridge admin"},
	{"$JS.API.CONSUMER.INFO.IM_LOG.SELF", "consumer bridge admin"},
	{"$JS.API.CONSUMER.INFO.IM_LOG.OTHERS", "bridge admin"},
	{"$JS.API.CONSUMER.MSG.NEXT.IM_LOG.SELF", "consumer bridge admin"},
	{"$JS.API.CONSUMER.MSG.NEXT.IM_LOG.OTHERS", "bridge admin"},
	{"$JS.API.CONSUMER.DELETE.IM_LOG.none", "bridge admin"},
	{"$JS.ACK.IM_LOG.SELF.1.1.1.1.0", "consumer bridge admin"},
	{"$JS.ACK.IM_LOG.OTHERS.1.1.1.1.0", "bridge admin"},
	{"$SYS.REQ.USER.AUTH", "admin"},          // without a listener: NATS sends its requests in another account
	{"$SYS.REQ.SERVER.PING.CONNZ", "admin"},  // of the own account
	{"$SYS.REQ.SERVER.none.KICK", "admin"},   // without a listener: this is not the system account
	{"$SYS.REQ.SERVER.none.RELOAD", "admin"}, // likewise
	{"foreign.subject", "admin"},
}

// maySubscribe lists the roles that may subscribe to a subject.
var maySubscribe = []struct {
	subject string
	roles   string
}{
	{"im.user.SELF.dialogue", "user bridge admin"},
	{"im.user.SELF.>", "user bridge admin"},
	{"_INBOX.SELF.>", "user consumer bridge admin"},
	{"im.user.OTHER.dialogue", "bridge admin"},
	{"im.user.*.dialogue", "bridge admin"},
	{"im.user.>", "bridge admin"},
	{"im.>", "bridge admin"},
	{"im.send.SELF", "bridge admin"},
	{"im.send.*", "bridge admin"},
	{"im.call.>", "bridge admin"},
	{"im.log.>", "bridge admin"},
	{"im.admin.>", "bridge admin"},
	{"im.node.*", "bridge admin"},
	{"_INBOX.OTHER.>", "bridge admin"},
	{"_INBOX.*.>", "bridge admin"},
	{"_INBOX.>", "bridge admin"},
	{"$KV.im_users.>", "bridge admin"},
	{"$JS.EVENT.ADVISORY.>", "bridge admin"},
	{"$SRV.>", "bridge admin"},
	{"$KV.>", "admin"},
	{"$JS.>", "admin"},
	{"$JS.API.>", "admin"},
	{"$JS.ACK.>", "admin"},
	{"$SYS.>", "admin"},
	{"$SYS.REQ.USER.AUTH", "admin"},
	{"*", "admin"},
	{"*.>", "admin"},
	{">", "admin"},
	{"foreign.subject", "admin"},
}

func TestNATSRoles(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	p, other := w.newMember(t, 0), w.newMember(t, 0)
	p.login(t)
	other.login(t)
	self := map[string]string{"user": p.id, "consumer": "archive", "bridge": "second", "admin": "root"}
	clients := map[string]*natsClient{"user": s.asUser(t, p)}
	s.attachment(t, "archive-2", kv.RoleConsumer, "")
	for _, role := range []kv.Role{kv.RoleConsumer, kv.RoleBridge, kv.RoleAdmin} {
		clients[string(role)] = s.asAttachment(t, s.attachment(t, self[string(role)], role, ""))
	}
	for _, role := range roles {
		c := clients[role]
		spell := strings.NewReplacer("SELF", self[role], "OTHERS", "archive-2", "OTHER", other.id).Replace
		for _, r := range mayPublish {
			err := c.tried(t, func(subject string) error { return c.Publish(subject, nil) }, spell(r.subject))
			wantAllowed(t, role+" publishes on "+r.subject, err, slices.Contains(strings.Fields(r.roles), role))
		}
		for _, r := range maySubscribe {
			err := c.tried(t, func(subject string) error {
				// The one with the end of the world in it is for the sentinel, which nobody may publish on.
				sub, err := c.SubscribeSync(subject)
				if err == nil && sub.Subject != sentinel {
					t.Cleanup(func() { sub.Unsubscribe() })
				}
				return err
			}, spell(r.subject))
			wantAllowed(t, role+" subscribes to "+r.subject, err, slices.Contains(strings.Fields(r.roles), role))
		}
	}
}

// sentinel is a subject that NATS refuses to all roles. An error about it arrives after the errors of earlier
// operations.
const sentinel = "_GR_.end"

// tried calls do and returns the permission error of NATS, if there is one.
func (c *natsClient) tried(t *testing.T, do func(subject string) error, subject string) error {
	t.Helper()
	if err := do(subject); err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if err := c.Publish(sentinel, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.errs:
		if strings.Contains(err.Error(), sentinel) {
			return nil
		}
		select {
		case <-c.errs: // the sentinel's
		case <-time.After(waitTimeout):
			t.Fatal("the sentinel was not refused")
		}
		return err
	case <-time.After(waitTimeout):
		t.Fatal("the sentinel was not refused")
	}
	return nil
}

func wantAllowed(t *testing.T, what string, err error, allowed bool) {
	t.Helper()
	if allowed && err != nil || !allowed && !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%s: got error %v, want allowed: %t", what, err, allowed)
	}
}

// TestNATSReplyElsewhere checks that the server does not reply to a subject to which the requester may not publish.
func TestNATSReplyElsewhere(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	p, victim := w.newFriends(t)
	user := s.asUser(t, p)
	ctx := t.Context()
	bystander, err := s.app.backend.connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer bystander.Close()
	seen, err := bystander.SubscribeSync("im.user." + victim.id + ".>")
	if err == nil {
		err = bystander.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{
		"$JS.API.STREAM.PURGE.KV_im_users", "$JS.API.STREAM.DELETE.KV_im_users", "im.user." + victim.id + ".notice", "im.admin.user.delete",
		"$KV.im_users.user." + victim.id, subject.Inbox(victim.id) + ".x", subject.Inbox(p.id) + "x",
	} {
		for subject, request := range map[string]string{
			"im.send." + p.id: dialogue(`"x"`, kv.NewID(), `"y"`), "im.call." + p.id + ".found": `{"name":"nobody"}`, "im.call." + p.id + ".none": ``,
		} {
			if err := user.PublishRequest(subject, reply, []byte(request)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What was asked before was answered before, if it was, and the same bridge sees it.
	for _, subject := range []string{"im.send." + p.id, "im.call." + p.id + ".found"} {
		if _, err := user.Request(subject, []byte(`{"name":"nobody"}`), waitTimeout); err != nil {
			t.Fatal(err)
		}
	}

	consumer := s.asAttachment(t, s.attachment(t, "archive", kv.RoleConsumer, ""))
	const next = "$JS.API.CONSUMER.MSG.NEXT.IM_LOG.archive"
	for _, bucket := range []string{"im_users", "im_tokens", "im_friendships"} {
		// The answer that there is nothing has no body, as a command to delete a stream.
		if err := consumer.PublishRequest(next, "$JS.API.STREAM.DELETE.KV_"+bucket, []byte(`{"batch":1,"no_wait":true}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := consumer.PublishRequest(next, "im.user."+victim.id+".notice", []byte(`{"batch":1,"no_wait":true}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.Request(next, []byte(`{"batch":1,"no_wait":true}`), waitTimeout); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(bystander)
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
	if err := bystander.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := seen.Pending(); err != nil || n != 0 {
		m, _ := seen.NextMsg(time.Second)
		t.Errorf("%d messages reached the other user, the first on %s: %s", n, m.Subject, m.Data)
	}
}

// TestNATSConsumer reads the log with only the context of an attachment.
func TestNATSConsumer(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	a, b := w.newFriends(t)
	credentials := s.attachment(t, "archive", kv.RoleConsumer, "dialogue.>")
	c := s.asAttachment(t, credentials)
	js, err := jetstream.New(c.Conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	consumer, err := js.Consumer(ctx, "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	if got := consumer.CachedInfo().Config.FilterSubject; got != "im.log.dialogue.>" {
		t.Errorf("filter: %s", got)
	}
	const many = 20
	go func() {
		for range many {
			b.tunnel.tryNext()
		}
	}()
	for i := range many {
		if code := a.talk(t, b, "d"+string(rune('a'+i))); code != 200 {
			t.Fatalf("dialogue %d: %d", i, code)
		}
	}
	batch, err := consumer.Fetch(many/2, jetstream.FetchMaxWait(waitTimeout))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for m := range batch.Messages() {
		n++
		if want := "im.log.dialogue." + a.id + "." + b.id; m.Subject() != want {
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
	case err := <-c.errs:
		t.Errorf("unexpected permission error: %v", err)
	default:
	}
	// Removing the attachment removes its consumer with the unread entries.
	if err := s.services().Attachments.Remove(ctx, "archive"); err != nil {
		t.Fatal(err)
	}
	inside, err := jetstream.New(s.app.backend.nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.Consumer(ctx, "IM_LOG", "archive"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("removed: %v", err)
	}
}
