package cmd

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsauth"
)

// TestBackupOfPrograms restores what programs have made: users of a gateway and of another system, the account of a
// service, whom the service has befriended, a moderator and a webhook. Each has the effect that it had before.
func TestBackupOfPrograms(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice := w.newMember(t, 0)
	alice.login(t)
	add := func(args ...string) (c natsauth.Context) {
		t.Helper()
		out := command(t, dir, "", append([]string{"attach", "add", "-o", "json"}, args...)...).want(t, exitDone).out
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return c
	}
	matrix := add("matrix", "--role", "gateway", "--accounts", "matrix_*")
	alerts := add("alerts", "--role", "service", "--user", "alerts", "--befriend")
	filter := add("filter", "--role", "moderator")
	person := `{"account":"sso","external":{"source":"jwt","issuer":"https://id.example.org","subject":"17"}}`
	command(t, dir, person, "user", "import").want(t, exitDone)
	command(t, dir, "", "webhook", "add", "push", "--url", "https://push.example.org/hook", "--events", "report").want(t, exitDone, "whsec_")
	ask := func(c *bridgetest.Client, subject, body, want string) {
		t.Helper()
		if got := c.Ask(t, subject, body); !strings.Contains(got, want) {
			t.Errorf("%s %s: %s, want %s", subject, body, got, want)
		}
	}
	ask(s.asAttachment(t, matrix), "im.gateway.matrix.register", `{"account":"matrix_ada"}`, `"code":200`)
	ask(s.asAttachment(t, alerts), "im.service.alerts.befriend", `{"id":"`+alice.id+`"}`, `"code":200`)
	var friend struct{ ID string }
	if err := json.Unmarshal([]byte(command(t, dir, "", "user", "show", "alerts", "-o", "json").want(t, exitDone).out), &friend); err != nil {
		t.Fatal(err)
	}
	alice.call(t, "remove", "to", friend.ID).want(t, "remove", replyBody(200))
	w.close(t)
	people := sortedLines(command(t, dir, "", "user", "export").want(t, exitDone).out)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	s.close(t)

	command(t, dir, "", "restore", "all.tar", "--data", "new").want(t, exitDone)
	again := start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.NATS.Sync = filepath.Join(dir, "new"), "127.0.0.1:0", Sync(time.Minute)
	})
	on := func(args ...string) commandAnswer { return command(t, dir, "", append(args, "--data", "new")...) }
	if got := sortedLines(on("user", "export").want(t, exitDone).out); strings.Join(got, "\n") != strings.Join(people, "\n") {
		t.Errorf("users: %s, want %s", got, people)
	}
	on("user", "list", "--gateway", "matrix").want(t, exitDone, "matrix_ada")
	on("user", "show", "sso").want(t, exitDone, "jwt")
	on("webhook", "list").want(t, exitDone, "push  push.example.org  report")
	for _, c := range []*natsauth.Context{&matrix, &alerts, &filter} {
		c.URL = again.natsURL()
	}
	gateway, service, moderator := again.asAttachment(t, matrix), again.asAttachment(t, alerts), again.asAttachment(t, filter)
	ask(gateway, "im.gateway.matrix.users", `{}`, "matrix_ada")
	ask(gateway, "im.gateway.matrix.register", `{"account":"matrix_bob"}`, `"code":200`)
	ask(service, "im.service.alerts.befriend", `{"id":"`+alice.id+`"}`, `"code":512`) // alice has removed it
	asked, err := moderator.SubscribeSync("im.hook.register")
	if err == nil {
		err = moderator.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, again)
	w.newMember(t, 0)
	if _, err := asked.NextMsg(waitTimeout); err != nil {
		t.Errorf("the moderator is not asked: %v", err)
	}
	w.register(t, 0, `{"account":"matrix_eve","password":"correct horse","mail":"eve@example.org"}`).want(t, "an account of the gateway", replyBody(504))
}
