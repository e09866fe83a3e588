package cmd

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

var codeInMail = regexp.MustCompile(`(?m)^    ([A-Z2-9]{4}-[A-Z2-9]{4})\r?$`)

// address is where the person's mail goes, as stranger registers it.
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

// code asks for one and takes it from the n-th letter.
func (p *member) code(t testing.TB, mailServer *smtpServer, n int) string {
	t.Helper()
	p.w.forgot(t, p.n, p.account, p.address(t)).want(t, "forgot", replyBody(200))
	found := codeInMail.FindStringSubmatch(mailServer.nth(t, p.address(t), n))
	if found == nil {
		t.Fatalf("no code in %q", mailServer.nth(t, p.address(t), n))
	}
	p.w.secret(found[1])
	p.w.secret(strings.ReplaceAll(found[1], "-", ""))
	return found[1]
}

// unlimited lets a test ask as often as it likes.
func unlimited(c *Config) { c.Limits.Forgotten = Rate{} }

// TestForgot: a code comes by mail, is good once, and sets a password; sessions and tokens of before end.
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
			second, login := a.onNextServer().openTunnel(t, "push", "1")
			code := a.code(t, mailServer, 1)
			if text := mailServer.nth(t, a.address(t), 1); !strings.Contains(text, a.account) || !strings.Contains(text, "15 minutes") {
				t.Errorf("the mail: %s", text)
			}
			if c := b.talk(t, a, "1"); c != 200 {
				t.Errorf("to ask changes nothing: %d", c)
			}
			for _, c := range []*tunnel{a.tunnel, second} {
				c.want(t, dialogueFrame(`"1"`, b.id, `"hello"`))
			}
			// Typed on another server, in small letters and with a space.
			typed := strings.ToLower(strings.ReplaceAll(code, "-", " "))
			w.secret("new pass word")
			w.reset(t, a.n+1, strings.ToUpper(a.account), typed, "new pass word").want(t, "reset", replyBody(200))
			for _, c := range []*tunnel{a.tunnel, second} {
				c.wantClose(t, websocket.ClosePolicyViolation)
			}
			for _, token := range []string{a.token, login.Token} {
				a.resume(t, token).want(t, replyBody(515))
			}
			a.refused(t, "the old password", a.password)
			a.password = "new pass word"
			a.login(t)
			w.reset(t, a.n, a.account, code, "another").want(t, "the code again", replyBody(505))
			a.login(t)
		})
	}
}

// TestForgotAnswers: whatever is asked, nobody learns from the answer whether there is such an account, and only the
// account's own address gets a mail.
func TestForgotAnswers(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, unlimited))
	a, disabled := w.newMember(t, 0), w.newMember(t, 0)
	disabled.login(t)
	if err := w.service().SetDisabled(t.Context(), disabled.id, true); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"unknown account": {"nobody", a.address(t)}, "another's address": {a.account, disabled.address(t)}, "no address": {a.account, "x"},
		"disabled": {disabled.account, disabled.address(t)}, "two addresses": {a.account, a.address(t) + ",x@example.org"},
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
	// The address is compared as people write it. This is the first mail that anybody gets.
	w.forgot(t, 0, " "+strings.ToUpper(a.account), " "+strings.ToUpper(a.address(t))).want(t, "forgot", replyBody(200))
	mailServer.nth(t, a.address(t), 1)
	if n := mailServer.all(); n != 1 {
		t.Errorf("%d mails were sent", n)
	}
	a.login(t) // the password of before
}

// TestForgotTiming: nobody waits for the mail, whatever becomes of it; and a wrong code is refused after the same
// while for an account that has a code and one that does not exist.
func TestForgotTiming(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, unlimited))
	a, b := w.newMember(t, 0), w.newMember(t, 0)
	b.code(t, mailServer, 1)
	mailServer.mu.Lock() // no mail goes out
	for range 8 {        // more than are sent at once
		w.forgot(t, 0, a.account, a.address(t)).want(t, "forgot", replyBody(200))
		w.forgot(t, 0, "nobody", a.address(t)).want(t, "forgot", replyBody(200))
	}
	mailServer.mu.Unlock()
	mailServer.nth(t, a.address(t), 8)
	for what, account := range map[string]string{"with a code": b.account, "unknown": "nobody"} {
		started := time.Now()
		w.reset(t, 0, account, "ABCD-EFGH", "x").want(t, what, replyBody(505))
		if took := time.Since(started); took < 250*time.Millisecond {
			t.Errorf("%s: refused after %v", what, took)
		}
	}
}

// TestForgotCodes: a code can't be guessed, nor used twice at once, and it does not outlive what it was sent for.
func TestForgotCodes(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, unlimited))
	tries := func(t *testing.T, n int, account, code string) (codes map[int]int) {
		t.Helper()
		var wg sync.WaitGroup
		var mu sync.Mutex // guards codes
		codes = make(map[int]int)
		for range n {
			wg.Go(func() {
				r, err := w.try(t.Context(), 0, http.MethodPost, "/im/password/reset", `{"account":"`+account+`","code":"`+code+`","password":"by code"}`)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				codes[r.code()]++
			})
		}
		wg.Wait()
		return codes
	}
	t.Run("wrong ones", func(t *testing.T) {
		t.Parallel()
		a := w.newMember(t, 0)
		code := a.code(t, mailServer, 1)
		if got := tries(t, 10, a.account, "AAAA-AAAA"); got[505] != 10 {
			t.Errorf("wrong codes: %v", got)
		}
		w.reset(t, 0, a.account, code, "x").want(t, "the right one, too late", replyBody(505))
		a.login(t)
		code = a.code(t, mailServer, 2)
		w.reset(t, 0, a.account, code, "by code").want(t, "the next", replyBody(200))
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		a := w.newMember(t, 0)
		if got := tries(t, 8, a.account, a.code(t, mailServer, 1)); got[200] != 1 || got[200]+got[505] != 8 {
			t.Errorf("the right code: %v", got)
		}
	})
	t.Run("replaced", func(t *testing.T) {
		t.Parallel()
		a := w.newMember(t, 0)
		first, second := a.code(t, mailServer, 1), a.code(t, mailServer, 2)
		w.reset(t, 0, a.account, first, "x").want(t, "the first", replyBody(505))
		w.reset(t, 0, a.account, second, strings.Repeat("x", 257)).want(t, "a password too long", replyBody(403))
		w.reset(t, 0, a.account, second, "by code").want(t, "the second", replyBody(200))
	})
	t.Run("another's", func(t *testing.T) {
		t.Parallel()
		a, b := w.newMember(t, 0), w.newMember(t, 0)
		w.reset(t, 0, b.account, a.code(t, mailServer, 1), "x").want(t, "another's", replyBody(505))
		b.login(t)
	})
	for what, change := range map[string]func(*testing.T, *member){
		"new password": func(t *testing.T, a *member) { a.update(t, `"password":"by hand"`).want(t, "password", replyBody(200)) },
		"new address": func(t *testing.T, a *member) {
			a.update(t, `"mail":"else@example.org"`).want(t, "mail", replyBody(200))
		},
		"administrator": func(t *testing.T, a *member) {
			if err := w.service().SetPassword(t.Context(), a.id, "by the administrator"); err != nil {
				t.Fatal(err)
			}
		},
		"disabled": func(t *testing.T, a *member) {
			if err := w.service().SetDisabled(t.Context(), a.id, true); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			a := w.newMember(t, 0)
			a.login(t)
			code := a.code(t, mailServer, 1)
			change(t, a)
			w.reset(t, 0, a.account, code, "x").want(t, "a code of before", replyBody(505))
		})
	}
}

// TestForgotLimits: one account gets so many mails, and one address asks so often.
func TestForgotLimits(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	w := newWorld(t, start(t, mailServer.configure, func(c *Config) {
		c.Limits.Forgotten, c.Limits.LoginFailures = Rate{3, time.Hour}, Rate{2, time.Hour}
		c.HTTP.TrustedProxies = []string{"127.0.0.1"}
	}))
	a, b := w.newMember(t, 0), w.newMember(t, 0)
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
	for n := range 5 { // from everywhere: the answer stays, the mails end
		forgot("192.0.2."+string(rune('1'+n)), a).want(t, "forgot", replyBody(200))
	}
	for range 3 {
		forgot("198.51.100.1", b).want(t, "forgot", replyBody(200))
	}
	forgot("198.51.100.1", b).wantStatus(t, "the fourth from there", http.StatusTooManyRequests, replyBody(403))
	mailServer.nth(t, b.address(t), 3)
	eventually(t, "three mails to each", func() bool { return mailServer.count(a.address(t)) == 3 })
	forgot("198.51.100.2", b).want(t, "from elsewhere", replyBody(200))
	if n := mailServer.all(); n != 6 {
		t.Errorf("%d mails", n)
	}
	// Wrong codes count as logins that fail.
	reset := map[string]string{"account": a.account, "code": "AAAA-AAAA", "password": "x"}
	for range 2 {
		from("203.0.113.1", "/im/password/reset", reset).want(t, "a wrong code", replyBody(505))
	}
	from("203.0.113.2", "/im/password/reset", reset).wantStatus(t, "one more for the account", http.StatusTooManyRequests, replyBody(403))
}

// TestForgotWithoutMailServer: without a mail server the calls are not there, so that a client can say so.
func TestForgotWithoutMailServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a := w.newMembers(t, 1)[0]
	a.call(t, "found", "name", fresh("nobody"))
	for _, path := range []string{"/im/password/forgot", "/im/password/reset"} {
		if r := w.do(t, 0, http.MethodPost, path, `{"account":"a","mail":"a@example.org"}`); r.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

// TestForgotMailFails: a mail that can't be sent is told to the administrator, and to nobody else; nothing about it is shown.
func TestForgotMailFails(t *testing.T) {
	t.Parallel()
	mailServer := startMailServer(t)
	mailServer.refuse = "no such mailbox"
	s := start(t, mailServer.configure, unlimited)
	w := newWorld(t, s)
	a := w.newMembers(t, 1)[0]
	w.secret(a.address(t))
	w.secret(mailServer.refuse)
	w.forgot(t, 0, a.account, a.address(t)).want(t, "forgot", replyBody(200))
	eventually(t, "a warning", func() bool {
		log := s.log.String()
		return strings.Contains(log, `level=WARN msg="the code for a new password was not sent" user=`+a.id) && strings.Contains(log, "550 5.1.1")
	})
}
