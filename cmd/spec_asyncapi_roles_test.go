package cmd

import (
	"testing"

	"imctl/bridge/bridgetest"
	"imctl/kv"
)

// roles makes the calls of readers and services, with each documented answer.
func (a *asyncAPI) roles(t *testing.T, w *world, s *server, person *member) {
	reader := s.attachment(t, "directory", kv.RoleReader, "")
	w.secret(reader.Password)
	self := w.newMembers(t, 1)[0]
	self.tunnel.close(t)
	_, credentials, err := s.services().Attachments.AddAs(t.Context(), kv.Attachment{Name: "alerts", Role: kv.RoleService, User: self.id, Befriends: true})
	if err != nil {
		t.Fatal(err)
	}
	w.secret(credentials.Password)
	service := s.asAttachment(t, credentials)
	unknown := kv.NewID()
	c := s.asAttachment(t, reader)
	ask := func(c *bridgetest.Client, operation, subject, body string, code int) {
		t.Helper()
		if code != 403 {
			a.saw(t, operation, operation+"Call", []byte(body))
		}
		answer := c.Ask(t, subject, body)
		a.saw(t, operation+"/reply", operation+"Answer", []byte(answer))
		if got := (reply{body: answer}).code(); got != code {
			t.Errorf("%s %s: %s, want %d", subject, body, answer, code)
		}
	}
	for _, row := range []struct {
		operation, call, body string
		code                  int
	}{
		{"readUsers", "users", `{"limit":2}`, 200},
		{"readUsers", "users", `{"limit":1000}`, 403},
		{"readUser", "user", `{"id":"` + person.id + `"}`, 200},
		{"readUser", "user", `{"id":"` + unknown + `"}`, 523},
		{"readUser", "user", `{}`, 403},
		{"readFriends", "friends", `{"id":"` + person.id + `"}`, 200},
		{"readFriends", "friends", `{"id":"` + unknown + `"}`, 523},
		{"readFriends", "friends", `[]`, 403},
		{"readPresence", "presence", `{"ids":["` + person.id + `"]}`, 200},
		{"readPresence", "presence", `{"ids":[]}`, 403},
		{"readLog", "log", `{}`, 200},
		{"readLog", "log", `x`, 403},
	} {
		ask(c, row.operation, "im.read.directory."+row.call, row.body, row.code)
	}
	for _, row := range []struct {
		operation, call, body string
		code                  int
	}{
		{"serviceSelf", "self", `{}`, 200},
		{"serviceSelf", "self", `x`, 403},
		{"serviceBefriend", "befriend", `{"id":"` + person.id + `"}`, 200},
		{"serviceBefriend", "befriend", `{"id":"` + unknown + `"}`, 523},
		{"serviceBefriend", "befriend", `x`, 403},
	} {
		ask(service, row.operation, "im.service.alerts."+row.call, row.body, row.code)
	}
	if err := s.services().Friends.Unfriend(t.Context(), self.id, person.id); err != nil {
		t.Fatal(err)
	}
	ask(service, "serviceBefriend", "im.service.alerts.befriend", `{"id":"`+person.id+`"}`, 512)
}
