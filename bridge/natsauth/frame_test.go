package natsauth_test

import (
	"strings"
	"testing"

	"imctl/bridge/bridgetest"
	"imctl/kv"
)

// TestMaxFrame checks that sessions.max_frame holds for dialogues by NATS: of a user, and of a program that publishes
// on the subject of a user.
func TestMaxFrame(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	const maxFrame = 64 << 10 // as bridgetest sets it
	bot, person := s.RegisterFriends(t)
	session, _ := s.Login(t, person)
	c := s.AsUser(t, bot)
	send := "im.send." + bot.ID
	pad := func(frame string, size int) string {
		return strings.Replace(frame, "x", strings.Repeat("x", size-len(frame)+1), 1)
	}

	largest := pad(dialogue(`"1"`, person.ID, `"x"`), maxFrame)
	c.WantAnswer(t, send, largest, replyFrame(`"1"`, 200))
	if got := session.Next(t); len(got) > maxFrame || !strings.HasPrefix(got, `{"id":"1"`) {
		t.Errorf("the largest dialogue arrived with %d bytes", len(got))
	}
	c.WantAnswer(t, send, pad(dialogue(`"2"`, person.ID, `"x"`), maxFrame+1), replyBody(403))
	c.WantAnswer(t, send, pad(dialogue(`"3"`, person.ID, `"x"`), 1<<20), replyBody(403))
	c.WantAnswer(t, "im.call."+bot.ID+".profile", pad(`{"sign":"x"}`, 1<<20), replyBody(403))
	c.WantAnswer(t, "im.call."+bot.ID+".profile", pad(`{"nothing":"x"}`, 1<<20), replyBody(403))

	gateway := s.AsAttachment(t, s.AddAttachment(t, "gateway", kv.RoleBridge, ""))
	if got := gateway.Ask(t, "im.user."+person.ID+".dialogue", pad(dialogueFrame(`"4"`, bot.ID, `"x"`), maxFrame+1)); !strings.Contains(got, "507") {
		t.Errorf("a dialogue that is too large: %q", got)
	}
	// The next frame of the session is the next small dialogue.
	c.WantAnswer(t, send, dialogue(`"5"`, person.ID, `"x"`), replyFrame(`"5"`, 200))
	session.Want(t, dialogueFrame(`"5"`, bot.ID, `"x"`))
}
