package cmd

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRegistration changes which clients may register while the server runs, and uses an invite of the command line. The
// invite survives a backup and a restore.
func TestRegistration(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	taken := w.newMembers(t, 1)[0]
	reload := func(mode string) {
		c := *s.app.config
		c.Registration = mode
		s.app.Reload(t.Context(), &c)
		if got := w.do(t, 0, "GET", "/im/registration", ""); got.body != `{"code":200,"message":"Success","ok":true,"registration":"`+mode+`","files":{"max":26214400}}` {
			t.Errorf("%s: answered %s", mode, got.body)
		}
	}
	register := func(what, account, invite string, code int) {
		t.Helper()
		w.register(t, 0, fields("account", account, "password", "correct horse", "mail", "m", "invite", invite)).want(t, what, replyBody(code))
	}
	reload("open")
	register("open", fresh("open"), "", 200)
	register("open, with an invite that does not exist", fresh("open"), "x", 200)

	reload("invite")
	link := strings.TrimSpace(command(t, dir, "", "invite", "create", "--uses", "3", "--note", "n").want(t, exitDone).out)
	page, secret, _ := strings.Cut(link, "#invite=")
	if page != s.app.URL()+"/im/www/v1/chat.html" || !hex32.MatchString(secret) {
		t.Errorf("the link is %s", link)
	}
	register("no invite", fresh("u"), "", 403)
	register("unknown invite", fresh("u"), strings.Repeat("0", 32), 403)
	register("no invite, and the account is taken", taken.account, "", 403)
	register("the account is taken", taken.account, secret, 504)
	register("invited", fresh("u"), secret, 200)

	reload("closed")
	register("closed", fresh("u"), secret, 403)
	w.register(t, 0, `{}`).want(t, "closed, empty", replyBody(403))
	command(t, dir, "correct horse\n", "user", "create", fresh("u")).want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	w.close(t)
	s.close(t)

	command(t, dir, "", "restore", "all.tar", "--data", "new").want(t, exitDone)
	again := start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.NATS.Sync, c.Registration = filepath.Join(dir, "new"), "127.0.0.1:0", Sync(time.Minute), "invite"
	})
	w = newWorld(t, again)
	register("invited, after the restore", fresh("u"), secret, 200)
	listed := command(t, dir, "", "invite", "list", "--data", "new", "-o", "json").want(t, exitDone, `"uses":3,"used":2`, `"note":"n"`).out
	if strings.Contains(listed, secret) {
		t.Error("the list has the secret")
	}
	_, id, _ := strings.Cut(listed, `"id":"`)
	command(t, dir, "", "invite", "revoke", id[:16], "--data", "new").want(t, exitDone, id[:16]+" revoked")
	register("revoked", fresh("u"), secret, 403)
	command(t, dir, "", "check", "--data", "new").want(t, exitDone)
}
