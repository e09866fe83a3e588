package cmd

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestMailVerify: a new address gets a code and the old one a note, on the way that clients use. No mail has text that
// a user wrote, also not in its header.
func TestMailVerify(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, unlimited))
	a := w.newMembers(t, 1)[0]
	send := func(what, verified string) {
		t.Helper()
		a.own(t, "/im/mail/send").want(t, what, `{"code":200,"message":"Success","ok":true,"verified":`+verified+`}`)
	}
	first := a.mailedCode(t, mailServer, a.address(t), 1) // the server sends two mails at once in any order
	send("not verified", "false")
	second := a.mailedCode(t, mailServer, a.address(t), 2)
	a.own(t, "/im/mail/verify", "code", "AAAA-BBBB").want(t, "a wrong code", replyBody(505))
	a.own(t, "/im/mail/verify", "code", " ").want(t, "no code", replyBody(403))
	if first == second {
		t.Error("the code is the same")
	}
	a.own(t, "/im/mail/verify", "code", strings.ToLower(second)).want(t, "verify", replyBody(200))
	send("verified", "true")

	const next = "next@example.org"
	a.own(t, "/im/profile/update", "mail", "Cheap pills at evil.example <"+next+">").want(t, "another address", replyBody(200))
	code := a.mailedCode(t, mailServer, next, 1)
	note := mailServer.waitForMail(t, a.address(t), 3)
	for _, text := range []string{note, mailServer.waitForMail(t, next, 1)} {
		if strings.Contains(text, "evil") || strings.Contains(text, next) || strings.Contains(text, a.account) {
			t.Errorf("got mail %q with text of the account", text)
		}
	}
	if !strings.Contains(note, "has another one") {
		t.Errorf("got mail %q, want a note of the new address", note)
	}
	mailServer.wantNoHeader(t, "evil")
	a.own(t, "/im/mail/verify", "code", code).want(t, "verify the other address", replyBody(200))
	if total := mailServer.total(); total != 4 {
		t.Errorf("%d mails were sent, want 4", total)
	}
}

// TestMailOfAdministrator: the address of an account that an administrator created counts as verified.
func TestMailOfAdministrator(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	dir := t.TempDir()
	w := newWorld(t, start(t, mailServer.configure, unlimited, func(c *Config) {
		c.Data, c.NATS.Listen = filepath.Join(dir, "data"), "127.0.0.1:0"
	}))
	w.newMembers(t, 1)
	account := fresh("admin ")
	command(t, dir, "by the administrator\n", "user", "create", account, "--mail", "admin@example.org").want(t, exitDone)
	w.forgot(t, 0, account, "admin@example.org").want(t, "forgot", replyBody(200))
	if codeInMail.FindString(mailServer.waitForMail(t, "admin@example.org", 1)) == "" {
		t.Error("no code in the mail")
	}
}
