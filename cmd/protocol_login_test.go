package cmd

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

var hex32 = regexp.MustCompile(`^[0-9a-f]{32}$`)

// testLogin checks that both login paths answer with exactly the documented JSON.
func testLogin(t *testing.T, w *world) {
	p := w.newMember(t, 0)
	seen := make(map[string]bool)
	for _, path := range []string{"/im/login", "/im/login/im/login"} {
		for _, q := range []string{
			query("account", p.account, "password", p.password),
			query("account", "  "+strings.ToUpper(p.account)+" ", "password", p.password, "unknown", "x", "unknown", "y"),
			query("account", p.account, "password", p.password, "push", "0"),
		} {
			c := w.dial(t, 0, path+"?"+q)
			frame := c.next(t)
			id, token := firstGroup(frame, `"profile":\{"id":"([^"]*)"`), firstGroup(frame, `"token":"([^"]*)"`)
			w.secret(token)
			want := `{"code":200,"friends":null,"message":"Success","ok":true,"profile":{"id":"` + id + `","name":"` + p.account +
				`","picture":"","sex":"","birthday":"","sign":""},"requests":null,"token":"` + token + `"}`
			if frame != want || !hex32.MatchString(id) || !hex32.MatchString(token) {
				t.Fatalf("%s:\n got %s\nwant %s", path, frame, want)
			}
			if p.id != "" && p.id != id || seen[token] {
				t.Errorf("%s: id %s after %s, or a token that was there before", path, id, p.id)
			}
			p.id, seen[token] = id, true
			if c.response.StatusCode != http.StatusSwitchingProtocols || c.response.Header.Get("Sec-WebSocket-Extensions") != "" {
				t.Errorf("handshake: %s, %v", c.response.Status, c.response.Header)
			}
			c.close(t)
		}
	}
	for token := range seen { // all tokens stay valid
		p.token = token
		p.call(t, "found", "name", fresh("nobody")).want(t, "call after the tunnel was closed", `{"code":200,"found":null,"message":"Success","ok":true}`)
	}
}

func firstGroup(text, pattern string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// testLoginRefusals checks that the server opens the WebSocket, sends the code and closes it, even if the client has
// sent further frames.
func testLoginRefusals(t *testing.T, w *world) {
	p := w.newMember(t, 0)
	rows := []struct {
		what, query string
		want        int
	}{
		{"unknown account", query("account", fresh("nobody"), "password", p.password), 505},
		{"wrong password", query("account", p.account, "password", "wrong"), 505},
		{"password with a blank", query("account", p.account, "password", p.password+" "), 505},
		{"password in another case", query("account", p.account, "password", strings.ToUpper(p.password)), 505},
		{"empty password", query("account", p.account, "password", ""), 505},
		{"no password", query("account", p.account), 505},
		{"empty account", query("account", "", "password", p.password), 505},
		{"blank account", query("account", " ", "password", p.password), 505},
		{"no account", query("password", p.password), 505},
		{"nothing", "", 505},
		{"keys in another case", query("Account", p.account, "Password", p.password), 505},
		{"account too long", query("account", strings.Repeat("a", 65), "password", "x"), 505},
		{"password too long", query("account", p.account, "password", strings.Repeat("x", 33)), 505},
		{"account twice", query("account", p.account, "account", p.account, "password", p.password), 403},
		{"password twice", query("account", p.account, "password", p.password, "password", p.password), 403},
		{"malformed escape", query("account", p.account, "password", p.password) + "%zz", 403},
		{"semicolon", "account=a;password=b", 403},
		{"not UTF-8", "account=%ff&password=x", 403},
		{"control character", query("account", p.account+"\x00", "password", p.password), 403},
	}
	for _, row := range rows {
		for _, path := range []string{"/im/login", "/im/login/im/login"} {
			c := w.dial(t, 0, path+"?"+row.query)
			for i := range 3 { // unexpected frames must not lose the answer
				if c.trySend(fmt.Sprint(i)) != nil {
					break
				}
			}
			if got := c.next(t); got != replyBody(row.want) {
				t.Errorf("%s: got %s, want %d", row.what, got, row.want)
			}
			c.wantClose(t, websocket.ClosePolicyViolation)
		}
	}
	p.login(t) // the refused logins have no effect on the account
}

// testLoginPlain checks the answers to logins without a WebSocket handshake.
func testLoginPlain(t *testing.T, w *world) {
	p := w.newMember(t, 0)
	for _, path := range []string{"/im/login", "/im/login/im/login"} {
		q := path + "?" + query("account", p.account, "password", p.password)
		w.do(t, 0, http.MethodGet, q, "").want(t, "GET", replyBody(403))
		w.do(t, 0, http.MethodPost, q, "account=x").want(t, "POST", replyBody(403))
	}
}

// testOrigins checks that pages of the server's own origin and of http.origins can open a tunnel, and no others.
func testOrigins(t *testing.T, w *world) {
	p := w.newMember(t, 0)
	base := w.base(0) // the server's own origin
	path := "/im/login?" + query("account", p.account, "password", p.password)
	for origin, allowed := range map[string]bool{
		"": true, base: true, "https://app.example.org": true, "HTTPS://APP.example.org": true,
		"https://evil.example.org": false, "http://app.example.org": false, "https://app.example.org.evil.example": false, "https://app.example.org:444": false,
		"null": false, "file://": false, "https://evil.example.org/?" + base: false, "http://127.0.0.1": false, "%": false,
	} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		c, err := dialAt(t.Context(), w.dialer(), base+path, h)
		if allowed {
			if err != nil {
				t.Errorf("origin %q: %v", origin, err)
				continue
			}
			if got := (reply{body: c.next(t)}).code(); got != 200 {
				t.Errorf("origin %q: %d", origin, got)
			}
			c.ws.Close()
			continue
		}
		if err == nil {
			t.Errorf("origin %q was accepted", origin)
			c.ws.Close()
			continue
		}
		body := make([]byte, len(replyBody(403))+1)
		n, _ := c.response.Body.Read(body)
		if string(body[:n]) != replyBody(403) {
			t.Errorf("origin %q: %s %s", origin, c.response.Status, body[:n])
		}
	}
}

// testLoginLists checks the friends with aliases and presence, and the requests with notes, in the answer to a login.
func testLoginLists(t *testing.T, w *world) {
	all := w.newMembers(t, 5)
	me, named, unnamed, away, asking := all[0], all[1], all[2], all[3], all[4]
	me.befriend(t, named)
	me.call(t, "request", "to", unnamed.id).want(t, "request", replyBody(200))
	unnamed.call(t, "add", "from", me.id, "name", "me").want(t, "add", replyBody(200))
	me.befriend(t, away)
	asking.call(t, "request", "to", me.id, "note", ` Hello "John" <this> & that is Álex `).want(t, "request", replyBody(200))
	away.tunnel.close(t)
	head := func(p *member, name string) string {
		return `{"id":"` + p.id + `","name":"` + name + `","picture":"","sex":"","birthday":"","sign":""`
	}
	want := func(token string) string {
		return `{"code":200,"friends":[` + head(named, "alias of "+named.account) + `,"online":true},` + head(unnamed, unnamed.account) + `,"online":true},` +
			head(away, "alias of "+away.account) + `,"online":false}],"message":"Success","ok":true,"profile":` + head(me, me.account) +
			`},"requests":[{"id":"` + asking.id + `","name":"` + asking.account + `","to":"` + me.id + `","note":"Hello \"John\" <this> & that is Álex"}],"token":"` + token + `"}`
	}
	var frame string
	eventually(t, "a friend that left is shown as offline", func() bool {
		c := w.dial(t, me.n, "/im/login?"+query("account", me.account, "password", me.password))
		frame = c.next(t)
		c.close(t)
		token := firstGroup(frame, `"token":"([^"]*)"`)
		w.secret(token)
		return frame == want(token) || !strings.Contains(frame, head(away, "alias of "+away.account)+`,"online":true}`)
	})
	if token := firstGroup(frame, `"token":"([^"]*)"`); frame != want(token) {
		t.Errorf("login:\n got %s\nwant %s", frame, want(token))
	}
}
