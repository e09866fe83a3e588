package cmd

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

var codeInMail = regexp.MustCompile(`(?m)^    ([A-Z2-9]{4}-[A-Z2-9]{4})\r?$`)

// address returns the mail address with which newMember registers p.
func (p *member) address(t testing.TB) string {
	t.Helper()
	_, number, _ := strings.Cut(p.account, " ")
	return "m" + number + "@example.org"
}

func (w *world) forgot(t testing.TB, n int, account, address string) reply {
	t.Helper()
	return w.post(t, n, "/im/password/forgot", map[string]string{"account": account, "mail": address})
}

func (w *world) reset(t testing.TB, n int, account, code, password string) reply {
	t.Helper()
	return w.post(t, n, "/im/password/reset", map[string]string{"account": account, "code": code, "password": password})
}

func (w *world) post(t testing.TB, n int, path string, fields map[string]string) reply {
	t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return w.do(t, n, http.MethodPost, path, string(body))
}

// own makes a POST call with the id and token of p.
func (p *member) own(t testing.TB, path string, pairs ...string) reply {
	t.Helper()
	return p.w.do(t, p.n, http.MethodPost, path, fields(append([]string{"id", p.id, "token", p.token}, pairs...)...))
}

// verify verifies the address of p, with the code from the mail that its registration sent. It logs p in if it is not.
func (p *member) verify(t testing.TB, mailServer *smtpServer) {
	t.Helper()
	if p.token == "" {
		p.login(t)
	}
	p.own(t, "/im/mail/verify", "code", p.mailedCode(t, mailServer, p.address(t), 1)).want(t, "verify", replyBody(200))
}

// code requests a code for a forgotten password and returns it from the n-th mail after the one of verify.
func (p *member) code(t testing.TB, mailServer *smtpServer, n int) string {
	t.Helper()
	p.w.forgot(t, p.n, p.account, p.address(t)).want(t, "forgot", replyBody(200))
	return p.mailedCode(t, mailServer, p.address(t), n+1)
}

// mailedCode returns the code in the n-th mail to an address of p. The mail must not have what p wrote.
func (p *member) mailedCode(t testing.TB, mailServer *smtpServer, address string, n int) string {
	t.Helper()
	text := mailServer.waitForMail(t, address, n)
	if strings.Contains(text, p.account) || strings.Contains(text, address) {
		t.Errorf("got mail %q with text of the account", text)
	}
	found := codeInMail.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no code in %q", text)
	}
	p.w.secret(found[1])
	p.w.secret(strings.ReplaceAll(found[1], "-", ""))
	return found[1]
}

// unlimited removes the limit of codes.
func unlimited(c *Config) { c.Limits.Forgotten = Rate{} }

// TestForgot resets a password with a code from a mail. The code is valid once, and existing sessions and tokens end.
func TestForgot(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	for name, begin := range map[string]func(*testing.T) deployment{
		"one server":  func(t *testing.T) deployment { return start(t, mailServer.configure, unlimited) },
		"two servers": func(t *testing.T) deployment { return startBridges(t, 2, mailServer.configure, unlimited) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, begin(t))
			a, b := w.newFriends(t)
			a.verify(t, mailServer)
			second, login := a.onNextServer().openTunnel(t, "push", "1")
			code := a.code(t, mailServer, 1)
			if text := mailServer.waitForMail(t, a.address(t), 2); !strings.Contains(text, "15 minutes") {
				t.Errorf("got mail %q, want 15 minutes", text)
			}
			if c := b.talk(t, a, "1"); c != 200 {
				t.Errorf("dialogue after the request for a code: got code %d, want 200", c)
			}
			for _, c := range []*tunnel{a.tunnel, second} {
				c.want(t, dialogueFrame(`"1"`, b.id, `"hello"`))
			}
			// The code is valid on another server, in lower case and with a space instead of the hyphen.
			typed := strings.ToLower(strings.ReplaceAll(code, "-", " "))
			w.secret("new pass word")
			w.reset(t, a.n+1, a.account, code, strings.Repeat("x", 257)).want(t, "a password too long", replyBody(403))
			w.reset(t, a.n+1, strings.ToUpper(a.account), typed, "new pass word").want(t, "reset", replyBody(200))
			for _, c := range []*tunnel{a.tunnel, second} {
				c.wantClose(t, websocket.ClosePolicyViolation)
			}
			for _, token := range []string{a.token, login.Token} {
				a.resume(t, token).want(t, replyBody(515))
			}
			a.refused(t, "the old password", a.password)
			if text := mailServer.waitForMail(t, a.address(t), 3); !strings.Contains(text, "new password") {
				t.Errorf("got mail %q, want a note of the new password", text)
			}
			a.password = "new pass word"
			a.login(t)
			w.reset(t, a.n, a.account, code, "another").want(t, "the code again", replyBody(505))
			a.login(t)
		})
	}
}

// TestForgotAnswers checks that the answer does not tell whether an account exists, and that only the address of the
// account gets a mail.
func TestForgotAnswers(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, unlimited))
	a, disabled, unverified := w.newMember(t, 0), w.newMember(t, 0), w.newMember(t, 0)
	a.verify(t, mailServer)
	disabled.verify(t, mailServer)
	mailServer.waitForMail(t, unverified.address(t), 1)
	if err := w.services().Accounts.SetDisabled(t.Context(), disabled.id, true); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"unknown account": {"nobody", a.address(t)}, "another's address": {a.account, disabled.address(t)}, "no address": {a.account, "x"},
		"disabled": {disabled.account, disabled.address(t)}, "not verified": {unverified.account, unverified.address(t)}, "two addresses": {a.account, a.address(t) + ",x@example.org"},
	} {
		w.forgot(t, 0, pair[0], pair[1]).want(t, what, replyBody(200))
	}
	for _, body := range []string{``, `[]`, `{}`, `{"account":"a"}`, `{"mail":"a@b"}`, `{"account":" ","mail":"a@b"}`, `{"account":"a","mail":null}`, `{"account":1,"mail":"a@b"}`} {
		w.do(t, 0, http.MethodPost, "/im/password/forgot", body).want(t, "forgot "+body, replyBody(403))
	}
	for _, body := range []string{``, `{}`, `{"account":"a","code":"b"}`, `{"account":"a","code":"b","password":""}`, `{"account":"a","code":" ","password":"p"}`, `{"account":"a","code":7,"password":"p"}`} {
		w.do(t, 0, http.MethodPost, "/im/password/reset", body).want(t, "reset "+body, replyBody(403))
	}
	for _, path := range []string{"/im/password/forgot", "/im/password/reset"} {
		w.do(t, 0, http.MethodGet, path, "").want(t, "GET "+path, replyBody(403))
	}
	for what, account := range map[string]string{"unknown account": "nobody", "no code": a.account, "disabled": disabled.account} {
		w.reset(t, 0, account, "ABCD-EFGH", "x").want(t, what, replyBody(505))
	}
	// The comparison of addresses ignores case and spaces. This request sends the first mail after the three that verify.
	w.forgot(t, 0, " "+strings.ToUpper(a.account), " "+strings.ToUpper(a.address(t))).want(t, "forgot", replyBody(200))
	mailServer.waitForMail(t, a.address(t), 2)
	if n := mailServer.total(); n != 4 {
		t.Errorf("%d mails were sent, want 4", n)
	}
	a.login(t) // with the unchanged password
}

// TestForgotTiming checks that the answer does not wait for the mail, and that a wrong code is refused after the same
// delay for an account with a code and for an unknown account.
func TestForgotTiming(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, unlimited))
	a, b := w.newMember(t, 0), w.newMember(t, 0)
	a.verify(t, mailServer)
	b.verify(t, mailServer)
	b.code(t, mailServer, 1)
	mailServer.mu.Lock() // blocks all mails
	for range 8 {        // more than the server sends concurrently
		w.forgot(t, 0, a.account, a.address(t)).want(t, "forgot", replyBody(200))
		w.forgot(t, 0, "nobody", a.address(t)).want(t, "forgot", replyBody(200))
	}
	mailServer.mu.Unlock()
	mailServer.waitForMail(t, a.address(t), 9)
	for what, account := range map[string]string{"with a code": b.account, "unknown": "nobody"} {
		start := time.Now()
		w.reset(t, 0, account, "ABCD-EFGH", "x").want(t, what, replyBody(505))
		if delay := time.Since(start); delay < 250*time.Millisecond {
			t.Errorf("%s: refused after %v, want at least 250ms", what, delay)
		}
	}
}

// TestForgotLimits checks the limits of mails to one account and of requests from one address.
func TestForgotLimits(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, func(c *Config) {
		c.Limits.Forgotten, c.Limits.LoginFailures = Rate{3, time.Hour}, Rate{2, time.Hour}
		c.HTTP.TrustedProxies = []string{"127.0.0.1"}
	}))
	a, b := w.newMember(t, 0), w.newMember(t, 0)
	a.verify(t, mailServer)
	b.verify(t, mailServer)
	from := func(address, path string, fields map[string]string) reply {
		t.Helper()
		body, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.base(0)+path, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("X-Forwarded-For", address)
		r, err := w.http.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		got, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply{r.StatusCode, r.Header, string(got)}
	}
	forgot := func(address string, p *member) reply {
		return from(address, "/im/password/forgot", map[string]string{"account": p.account, "mail": p.address(t)})
	}
	for n := range 5 { // from different addresses: the answer stays the same, but the number of mails is limited
		forgot("192.0.2."+string(rune('1'+n)), a).want(t, "forgot", replyBody(200))
	}
	for range 3 {
		forgot("198.51.100.1", b).want(t, "forgot", replyBody(200))
	}
	forgot("198.51.100.1", b).wantStatus(t, "the fourth request from the address", http.StatusTooManyRequests, replyBody(403))
	mailServer.waitForMail(t, b.address(t), 4)
	eventually(t, "three mails to each, and the one that verifies", func() bool { return mailServer.count(a.address(t)) == 4 })
	forgot("198.51.100.2", b).want(t, "request from another address", replyBody(200))
	if n := mailServer.total(); n != 8 {
		t.Errorf("got %d mails, want 8", n)
	}
	// Wrong codes count as failed logins.
	reset := map[string]string{"account": a.account, "code": "AAAA-AAAA", "password": "x"}
	for range 2 {
		from("203.0.113.1", "/im/password/reset", reset).want(t, "a wrong code", replyBody(505))
	}
	from("203.0.113.2", "/im/password/reset", reset).wantStatus(t, "a third wrong code for the account", http.StatusTooManyRequests, replyBody(403))
}

// TestForgotWithoutMailServer checks that the calls are answered 404 without a mail server.
func TestForgotWithoutMailServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a := w.newMembers(t, 1)[0]
	a.call(t, "found", "name", fresh("nobody"))
	for _, path := range []string{"/im/password/forgot", "/im/password/reset", "/im/mail/verify", "/im/mail/send"} {
		if r := w.do(t, 0, http.MethodPost, path, `{"account":"a","mail":"a@example.org"}`); r.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

// TestForgotMailFails checks that a failed mail is logged without secrets, and that the answer does not tell of it.
func TestForgotMailFails(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	s := start(t, mailServer.configure, unlimited)
	w := newWorld(t, s)
	a := w.newMembers(t, 1)[0]
	a.verify(t, mailServer)
	mailServer.mu.Lock()
	mailServer.refuse = "no such mailbox"
	mailServer.mu.Unlock()
	w.secret(a.address(t))
	w.secret("no such mailbox")
	w.forgot(t, 0, a.account, a.address(t)).want(t, "forgot", replyBody(200))
	eventually(t, "a warning", func() bool {
		log := s.log.String()
		return strings.Contains(log, `level=WARN msg="the code for a new password was not sent" user=`+a.id) && strings.Contains(log, "550 5.1.1")
	})
}
