package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
	"imctl/kv"
)

// ask sends a request and returns the text of the answer.
func (c *natsClient) ask(t testing.TB, subject, request string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	m, err := c.RequestWithContext(ctx, subject, []byte(request))
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return string(m.Data)
}

func (c *natsClient) wantAnswer(t testing.TB, subject, request, want string) {
	t.Helper()
	if got := c.ask(t, subject, request); got != want {
		t.Errorf("%s %s:\n got %s\nwant %s", subject, request, got, want)
	}
}

// TestNATSUser checks that a user with a NATS client is online, is found, and exchanges dialogues like other users.
func TestNATSUser(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	bot, person := w.newMember(t, 0), w.newMember(t, 0)
	bot.login(t)
	bot.tunnel.close(t)
	person.login(t)
	bot.befriend(t, person)

	c := s.asUser(t, bot)
	got := make(chan *nats.Msg, 16)
	if _, err := c.Subscribe("im.user."+bot.id+".dialogue", func(m *nats.Msg) {
		if err := m.Respond(nil); err != nil {
			t.Error(err)
		}
		if strings.Contains(string(m.Data), person.id) { // not a presence request
			got <- m
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushTimeout(waitTimeout); err != nil {
		t.Fatal(err)
	}
	// A friend's login shows the user as online.
	_, a := person.openTunnel(t)
	if len(a.Friends) != 1 || a.Friends[0].ID != bot.id || !a.Friends[0].Online {
		t.Errorf("the friends are %+v", a.Friends)
	}
	person.tunnel.send(t, dialogue(`"q1"`, bot.id, `"how are you?"`))
	if m := <-got; string(m.Data) != dialogueFrame(`"q1"`, person.id, `"how are you?"`) {
		t.Errorf("the bot received %s", m.Data)
	}
	person.tunnel.want(t, replyFrame(`"q1"`, 200))

	send, call := "im.send."+bot.id, "im.call."+bot.id+"."
	c.wantAnswer(t, send, dialogue(`"a1"`, person.id, `"well"`), replyFrame(`"a1"`, 200))
	person.tunnel.want(t, dialogueFrame(`"a1"`, bot.id, `"well"`))
	for name, x := range map[string]struct{ request, want string }{
		"no friend":  {dialogue(`"a2"`, kv.NewID(), `"x"`), replyFrame(`"a2"`, 512)},
		"no id":      {dialogue(`""`, person.id, `"x"`), replyBody(506)},
		"no payload": {dialogue(`"a3"`, person.id, `""`), replyFrame(`"a3"`, 511)},
		"no JSON":    {`hello`, replyBody(403)},
	} {
		t.Logf("send: %s", name)
		c.wantAnswer(t, send, x.request, x.want)
	}

	third := w.newMember(t, 0)
	third.login(t)
	c.wantAnswer(t, call+"request", `{"to":"`+third.id+`","note":"hello"}`, replyBody(200))
	third.call(t, "add", "from", bot.id, "name", "the bot").want(t, "add", replyBody(200))
	c.wantAnswer(t, call+"add", `{"from":"`+third.id+`","name":"the third"}`, replyBody(200))
	c.wantAnswer(t, send, dialogue(`"b1"`, third.id, `"hello"`), replyFrame(`"b1"`, 200))
	third.tunnel.want(t, dialogueFrame(`"b1"`, bot.id, `"hello"`))
	c.wantAnswer(t, call+"remove", `{"to":"`+third.id+`"}`, replyBody(200))
	c.wantAnswer(t, send, dialogue(`"b2"`, third.id, `"hello"`), replyFrame(`"b2"`, 512))
	c.wantAnswer(t, call+"profile", `{"name":"Robot `+bot.account+`"}`, replyBody(200))
	if r := person.call(t, "found", "name", "Robot "+bot.account); r.code() != 200 || !strings.Contains(r.body, bot.id) {
		t.Errorf("found by its new name: %s", r.body)
	}
	if body := c.ask(t, call+"found", `{"name":"`+person.account+`"}`); !strings.Contains(body, person.id) {
		t.Errorf("found: %s", body)
	}
	c.wantAnswer(t, call+"none", `{}`, replyBody(403))

	// A change of its own password is answered, and ends the connection.
	w.secret("a new password")
	c.wantAnswer(t, call+"profile", `{"password":"a new password"}`, replyBody(200))
	c.wantClosed(t, "a new password")
	if _, err := s.dialNATS(bot.account, bot.password, "_INBOX.x"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("login with the old password: got error %v", err)
	}
	s.natsClient(t, bot.account, "a new password", subject.Inbox(bot.id))
	// The user is offline now.
	if code := person.talk(t, bot, "q2"); code != 508 {
		t.Errorf("dialogue to the offline user: got code %d, want 508", code)
	}
}

// TestNATSUserRate checks limits.dialogues for NATS clients. Dialogues over the limit wait, in order. A dialogue that
// would wait longer than dialogues.timeout is refused. Other users are not affected.
func TestNATSUserRate(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		rate           Rate
		taken, refused int
	}{
		"waits":   {Rate{Count: 5, Per: time.Second}, 8, 0},
		"refused": {Rate{Count: 3, Per: time.Hour}, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := newNATSWorld(t, func(c *Config) { c.Limits.Dialogues = x.rate })
			bot, other, person := w.newMember(t, 0), w.newMember(t, 0), w.newMember(t, 0)
			person.login(t)
			for _, p := range []*member{bot, other} {
				p.login(t)
				p.befriend(t, person)
			}
			c := s.asUser(t, bot)
			answers := make(chan *nats.Msg, x.taken+x.refused)
			inbox := c.NewInbox()
			if _, err := c.ChanSubscribe(inbox, answers); err != nil {
				t.Fatal(err)
			}
			for n := range x.taken + x.refused {
				if err := c.PublishRequest("im.send."+bot.id, inbox, []byte(dialogue(fmt.Sprintf(`"%d"`, n), person.id, `"x"`))); err != nil {
					t.Fatal(err)
				}
			}
			for n := range x.taken {
				person.tunnel.want(t, dialogueFrame(fmt.Sprintf(`"%d"`, n), bot.id, `"x"`))
			}
			codes := make(map[string]int)
			for range x.taken + x.refused {
				select {
				case m := <-answers:
					codes[string(m.Data)[:len(`{"code":200`)]]++
				case <-time.After(waitTimeout):
					t.Fatalf("answers so far: %v", codes)
				}
			}
			if codes[`{"code":200`] != x.taken || codes[`{"code":507`] != x.refused {
				t.Errorf("answers: %v", codes)
			}
			s.asUser(t, other).wantAnswer(t, "im.send."+other.id, dialogue(`"1"`, person.id, `"x"`), replyFrame(`"1"`, 200))
		})
	}
}

// TestNATSUserHasNoJetStream checks that a user cannot read the buckets with the client library.
func TestNATSUserHasNoJetStream(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	p := w.newMember(t, 0)
	p.login(t)
	archive := s.asAttachment(t, s.attachment(t, "archive", kv.RoleConsumer, ""))
	for name, c := range map[string]*natsClient{"user": s.asUser(t, p), "consumer": archive} {
		js, err := jetstream.New(c.Conn)
		if err != nil {
			t.Fatal(err)
		}
		// NATS does not answer denied requests. Its permission error ends the wait.
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range 3 {
				select {
				case <-c.errs:
				case <-t.Context().Done():
				}
			}
			cancel()
		}()
		var wg sync.WaitGroup
		for what, do := range map[string]func() error{
			"read a bucket": func() error { _, err := js.KeyValue(ctx, "im_users"); return err },
			"make a stream": func() error {
				_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "own", Subjects: []string{"own"}})
				return err
			},
			"make a consumer": func() error {
				_, err := js.CreateConsumer(ctx, "IM_LOG", jetstream.ConsumerConfig{Durable: "own"})
				return err
			},
		} {
			wg.Go(func() {
				if err := do(); err == nil {
					t.Errorf("%s: %s", name, what)
				}
			})
		}
		wg.Wait()
		cancel()
	}
}
