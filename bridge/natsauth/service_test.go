package natsauth_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/kv"
)

// TestService checks what a service does: it befriends a user once, sends and receives as its user, and stops when the
// user is disabled, or the service is rotated or removed.
func TestService(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	system, err := s.Accounts.RegisterOwned(t.Context(), kv.User{Account: "alerts", Profile: kv.Profile{Name: "Alerts"}})
	if err != nil {
		t.Fatal(err)
	}
	self := bridgetest.User{ID: system.ID, Account: system.Account}
	person, stranger := s.Register(t), s.Register(t)
	session, _ := s.Login(t, person)
	credentials := s.AddService(t, "alerts-1", self, true)
	c := s.AsAttachment(t, credentials)
	plain := s.AsAttachment(t, s.AddService(t, "alerts-2", self, false))
	if _, err := s.Dial("alerts", ""); err == nil {
		t.Error("the account has no password, and an empty one logs in")
	}

	send := func(id, to string) string { return c.Ask(t, "im.send."+self.ID, dialogue(id, to, `"x"`)) }
	if got := send(`"1"`, person.ID); got != replyFrame(`"1"`, 512) {
		t.Errorf("to a user that is no friend: %s", got)
	}
	befriend := func(to string) string {
		return c.Ask(t, "im.service.alerts-1.befriend", fmt.Sprintf(`{"id":%q}`, to))
	}
	plain.WantAnswer(t, "im.service.alerts-2.befriend", fmt.Sprintf(`{"id":%q}`, person.ID), replyBody(403))
	for range 2 { // the second one changes nothing
		if got := befriend(person.ID); got != replyBody(200) {
			t.Errorf("befriend: %s", got)
		}
	}
	for to, want := range map[string]string{kv.NewID(): replyBody(523), self.ID: replyBody(523)} {
		if got := befriend(to); got != want {
			t.Errorf("befriend %s: %s", to, got)
		}
	}
	c.WantAnswer(t, "im.send."+self.ID, dialogue(`"2"`, person.ID, `"Deployed"`), replyFrame(`"2"`, 200))
	session.Want(t, dialogueFrame(`"2"`, self.ID, `"Deployed"`))
	got := make(chan *nats.Msg, 1)
	_, err = c.Subscribe("im.user."+self.ID+".dialogue", func(m *nats.Msg) {
		if err := m.Respond(nil); err != nil {
			t.Error(err)
		}
		got <- m
	})
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	session.Send(t, dialogue(`"3"`, self.ID, `"thanks"`))
	session.Want(t, replyFrame(`"3"`, 200))
	if m := <-got; string(m.Data) != dialogueFrame(`"3"`, person.ID, `"thanks"`) {
		t.Errorf("the service received %s", m.Data)
	}

	// A user ends it for good: by removing the service, and by blocking it before.
	if answer := call(t, s, person, "GET", "/im/friends/remove", map[string]string{"to": self.ID}); answer != replyBody(200) {
		t.Fatal(answer)
	}
	if answer := call(t, s, stranger, "GET", "/im/friends/block", map[string]string{"to": self.ID}); answer != replyBody(200) {
		t.Fatal(answer)
	}
	for _, to := range []string{person.ID, stranger.ID} {
		if answer := befriend(to); answer != replyBody(512) {
			t.Errorf("befriend a user that does not want it: %s", answer)
		}
	}
	if roster, _, err := s.Store.Rosters.Get(t.Context(), person.ID); err != nil || len(roster.Friends) != 0 || !slices.Equal(roster.BefriendedBy, []string{self.ID}) {
		t.Errorf("roster %+v, %v", roster, err)
	}

	// A rotation closes the connection. So does disabling the account, which then refuses the new secret.
	_, rotated, err := s.Attachments.Rotate(t.Context(), "alerts-1")
	if err != nil {
		t.Fatal(err)
	}
	s.Secret(rotated.Password)
	c.WantClosed(t, "rotated")
	if _, err := s.Dial(credentials.User, credentials.Password); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the old secret: %v", err)
	}
	c = s.AsAttachment(t, rotated)
	if err := s.Accounts.SetDisabled(t.Context(), self.ID, true); err != nil {
		t.Fatal(err)
	}
	c.WantClosed(t, "disabled")
	if _, err := s.Dial(rotated.User, rotated.Password); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a disabled account: %v", err)
	}
	if err := s.Accounts.SetDisabled(t.Context(), self.ID, false); err != nil {
		t.Fatal(err)
	}
	c = s.AsAttachment(t, rotated)
	if err := s.Attachments.Remove(t.Context(), "alerts-1"); err != nil {
		t.Fatal(err)
	}
	c.WantClosed(t, "removed")
	for _, a := range []kv.Attachment{{Name: "x", Role: kv.RoleService}, {Name: "x", Role: kv.RoleService, User: "no id"}, {Name: "x", Role: kv.RoleReader, User: self.ID}, {Name: "x", Role: kv.RoleAdmin, Befriends: true}} {
		if _, _, err := s.Attachments.AddAs(t.Context(), a); !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("%+v: error %v", a, err)
		}
	}
}
