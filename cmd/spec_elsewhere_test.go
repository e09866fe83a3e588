package cmd

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/identity"
	"imctl/kv"
)

// elsewhere makes the calls about passwords at a server that keeps none.
func (a *openAPI) elsewhere(t *testing.T) {
	s := start(t, startMailServer(t).configure, func(c *Config) { c.Auth.Modes = []string{} })
	w := newWorld(t, s)
	u, err := s.services().Accounts.SignIn(t.Context(), identity.Person{Source: identity.OIDC, Subject: "1", Account: "john"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.app.backend.store.Tokens.Issue(t.Context(), u.ID, "s", kv.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	w.secret(token)
	for _, x := range []exchange{
		{path: "/im/register", body: fields("account", "jane", "password", "p", "mail", "m"), code: 527},
		{path: "/im/profile/update", body: fields("id", u.ID, "token", token, "password", "p"), code: 527},
		{path: "/im/password/forgot", body: fields("account", "john", "mail", "m"), code: 527},
		{path: "/im/password/reset", body: fields("account", "john", "code", "AAAA-BBBB", "password", "p"), code: 527},
		{path: "/im/info", code: 200}, {path: "/im/registration", code: 200},
	} {
		a.try(t, w, x)
	}
}

// elsewhere has a program asked whether passwords are right.
func (a *asyncAPI) elsewhere(t *testing.T) {
	w, s := newNATSWorld(t, unlimited, func(c *Config) { c.Auth.Modes = []string{identity.Builtin, identity.NATS} })
	program := s.asAttachment(t, s.attachment(t, "directory", kv.RoleAuth, ""))
	for on, operation := range map[string][2]string{"im.auth.login": {"askLogin", "authLogin"}, "im.auth.lookup": {"askLookup", "authLookup"}} {
		_, err := program.QueueSubscribe(on, "directory", func(m *nats.Msg) {
			a.saw(t, operation[0], operation[1], m.Data)
			answer := `{"result":"no"}`
			if strings.Contains(string(m.Data), `"John"`) {
				answer = `{"result":"yes","account":"john","subject":"uid=john","name":"Funny John","mail":"john@example.org","mail_unverified":false}`
			}
			a.saw(t, operation[0]+"/reply", "authAnswer", []byte(answer))
			if err := m.Respond([]byte(answer)); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := program.Flush(); err != nil {
		t.Fatal(err)
	}
	w.register(t, 0, fields("account", "John", "password", "p", "mail", "m")).want(t, "register an account of the program", replyBody(504))
	w.register(t, 0, fields("account", "Jane", "password", "p", "mail", "m")).want(t, "register", replyBody(200))
	refused := w.dial(t, 0, "/im/login?"+query("account", "Jim", "password", "p"))
	if frame := refused.next(t); frame != replyBody(505) {
		t.Errorf("a login that the program refuses: %s", frame)
	}
	john := &member{w: w, account: "John", password: "correct horse"}
	john.login(t)
	nc := s.asUser(t, john)
	answer := nc.Ask(t, "im.call."+john.id+".profile", `{"password":"p"}`)
	if a.saw(t, "updateProfile/reply", "profileAnswer", []byte(answer)); (reply{body: answer}).code() != 527 {
		t.Errorf("a new password: %s", answer)
	}
}
