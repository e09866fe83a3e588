package natsauth_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/wire"
)

// TestBlockByNATS: a user that is a NATS client takes dialogues on its own subscription, and blocks by a call. The
// blocked friend is a NATS client too, and has a session.
func TestBlockByNATS(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	bot, person := s.RegisterFriends(t)
	c, other := s.AsUser(t, bot), s.AsUser(t, person)
	if _, err := c.Subscribe("im.user."+bot.ID+".dialogue", func(m *nats.Msg) {
		if strings.Contains(string(m.Data), "blocked") {
			t.Errorf("the user who blocks received %s", m.Data)
		}
		if err := m.Respond(nil); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushTimeout(bridgetest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
	session, _ := s.Login(t, person)
	say := func(payload string, code wire.Code, toPerson string) {
		t.Helper()
		session.Send(t, dialogue(`"1"`, bot.ID, `"`+payload+`"`))
		session.Want(t, replyFrame(`"1"`, code))
		other.WantAnswer(t, "im.send."+person.ID, dialogue(`"2"`, bot.ID, `"`+payload+`"`), replyFrame(`"2"`, code))
		c.WantAnswer(t, "im.send."+bot.ID, dialogue(`"3"`, person.ID, `"x"`), toPerson)
		if code == 200 {
			session.Want(t, dialogueFrame(`"3"`, bot.ID, `"x"`))
		}
	}
	say("hello", 200, replyFrame(`"3"`, 200))
	c.WantAnswer(t, "im.call."+bot.ID+".block", `{"to":"`+person.ID+`"}`, replyBody(200))
	say("blocked", 508, replyFrame(`"3"`, 512))
	if body := c.Ask(t, "im.call."+bot.ID+".blocked", `{}`); !strings.Contains(body, person.ID) {
		t.Errorf("blocked: %s", body)
	}
	_, again := s.Login(t, person)
	if len(again.Friends) != 1 || again.Friends[0].Online {
		t.Errorf("the friends are %+v, want the bot offline", again.Friends)
	}
	c.WantAnswer(t, "im.call."+bot.ID+".unblock", `{"to":"`+person.ID+`"}`, replyBody(200))
	say("hello again", 200, replyFrame(`"3"`, 200))
}
