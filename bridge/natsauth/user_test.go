package natsauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/governor"
	"imctl/bridge/subject"
	"imctl/kv"
)

// TestUser checks that a user with a NATS client is online, is found, and exchanges dialogues like other users.
func TestUser(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	bot, person := s.RegisterFriends(t)
	c := s.AsUser(t, bot)
	got := make(chan *nats.Msg, 16)
	if _, err := c.Subscribe("im.user."+bot.ID+".dialogue", func(m *nats.Msg) {
		if err := m.Respond(nil); err != nil {
			t.Error(err)
		}
		if strings.Contains(string(m.Data), person.ID) { // not a presence request
			got <- m
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushTimeout(bridgetest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
	// A friend's login shows the user as online.
	session, a := s.Login(t, person)
	if len(a.Friends) != 1 || a.Friends[0].ID != bot.ID || !a.Friends[0].Online {
		t.Errorf("the friends are %+v", a.Friends)
	}
	session.Send(t, dialogue(`"q1"`, bot.ID, `"how are you?"`))
	if m := <-got; string(m.Data) != dialogueFrame(`"q1"`, person.ID, `"how are you?"`) {
		t.Errorf("the bot received %s", m.Data)
	}
	session.Want(t, replyFrame(`"q1"`, 200))

	send, calls := "im.send."+bot.ID, "im.call."+bot.ID+"."
	c.WantAnswer(t, send, dialogue(`"a1"`, person.ID, `"well"`), replyFrame(`"a1"`, 200))
	session.Want(t, dialogueFrame(`"a1"`, bot.ID, `"well"`))
	for name, x := range map[string]struct{ request, want string }{
		"no friend":  {dialogue(`"a2"`, kv.NewID(), `"x"`), replyFrame(`"a2"`, 512)},
		"no id":      {dialogue(`""`, person.ID, `"x"`), replyBody(506)},
		"no payload": {dialogue(`"a3"`, person.ID, `""`), replyFrame(`"a3"`, 511)},
		"no JSON":    {`hello`, replyBody(403)},
	} {
		t.Logf("send: %s", name)
		c.WantAnswer(t, send, x.request, x.want)
	}

	third := s.Register(t)
	thirds, _ := s.Login(t, third)
	c.WantAnswer(t, calls+"request", `{"to":"`+third.ID+`","note":"hello"}`, replyBody(200))
	if got := call(t, s, third, "GET", "/im/friends/add", map[string]string{"from": bot.ID, "name": "the bot"}); got != replyBody(200) {
		t.Errorf("add: %s", got)
	}
	c.WantAnswer(t, calls+"add", `{"from":"`+third.ID+`","name":"the third"}`, replyBody(200))
	c.WantAnswer(t, send, dialogue(`"b1"`, third.ID, `"hello"`), replyFrame(`"b1"`, 200))
	thirds.Want(t, dialogueFrame(`"b1"`, bot.ID, `"hello"`))
	c.WantAnswer(t, calls+"remove", `{"to":"`+third.ID+`"}`, replyBody(200))
	c.WantAnswer(t, send, dialogue(`"b2"`, third.ID, `"hello"`), replyFrame(`"b2"`, 512))
	c.WantAnswer(t, calls+"profile", `{"name":"Robot `+bot.Account+`"}`, replyBody(200))
	found := call(t, s, person, "GET", "/im/friends/found", map[string]string{"name": "Robot " + bot.Account})
	if !strings.HasPrefix(found, `{"code":200,`) || !strings.Contains(found, bot.ID) {
		t.Errorf("found by its new name: %s", found)
	}
	if body := c.Ask(t, calls+"found", `{"name":"`+person.Account+`"}`); !strings.Contains(body, person.ID) {
		t.Errorf("found: %s", body)
	}
	c.WantAnswer(t, calls+"none", `{}`, replyBody(403))

	// A change of its own password is answered, and ends the connection.
	s.Secret("a new password")
	c.WantAnswer(t, calls+"profile", `{"password":"a new password"}`, replyBody(505))
	old, err := json.Marshal(bot.Password)
	if err != nil {
		t.Fatal(err)
	}
	c.WantAnswer(t, calls+"profile", `{"password":"a new password","old_password":`+string(old)+`}`, replyBody(200))
	c.WantClosed(t, "a new password")
	if _, err := s.Dial(bot.Account, bot.Password); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("login with the old password: got error %v", err)
	}
	bridgetest.Connect(t, s.NATS.URL(), bot.Account, "a new password", subject.Inbox(bot.ID))
	// The user is offline now.
	session.Send(t, dialogue(`"q2"`, bot.ID, `"hello"`))
	session.Want(t, replyFrame(`"q2"`, 508))
}

// TestUserRate checks limits.dialogues for NATS clients. Dialogues over the limit wait, in order. A dialogue that
// would wait longer than dialogues.timeout is refused. Other users are not affected.
func TestUserRate(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		rate           governor.Rate
		taken, refused int
	}{
		"waits":   {governor.Rate{Events: 5, Per: time.Second}, 8, 0},
		"refused": {governor.Rate{Events: 3, Per: time.Hour}, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bridgetest.Start(t, bridgetest.Options{Limits: governor.Options{Dialogues: x.rate}})
			bot, other, person := s.Register(t), s.Register(t), s.Register(t)
			s.Befriend(t, bot, person)
			s.Befriend(t, other, person)
			session, _ := s.Login(t, person)
			c := s.AsUser(t, bot)
			answers := make(chan *nats.Msg, x.taken+x.refused)
			inbox := c.NewInbox()
			if _, err := c.ChanSubscribe(inbox, answers); err != nil {
				t.Fatal(err)
			}
			for n := range x.taken + x.refused {
				if err := c.PublishRequest("im.send."+bot.ID, inbox, []byte(dialogue(fmt.Sprintf(`"%d"`, n), person.ID, `"x"`))); err != nil {
					t.Fatal(err)
				}
			}
			for n := range x.taken {
				session.Want(t, dialogueFrame(fmt.Sprintf(`"%d"`, n), bot.ID, `"x"`))
			}
			codes := make(map[string]int)
			for range x.taken + x.refused {
				select {
				case m := <-answers:
					codes[string(m.Data)[:len(`{"code":200`)]]++
				case <-time.After(bridgetest.WaitTimeout):
					t.Fatalf("answers so far: %v", codes)
				}
			}
			if codes[`{"code":200`] != x.taken || codes[`{"code":507`] != x.refused {
				t.Errorf("answers: %v", codes)
			}
			s.AsUser(t, other).WantAnswer(t, "im.send."+other.ID, dialogue(`"1"`, person.ID, `"x"`), replyFrame(`"1"`, 200))
		})
	}
}
