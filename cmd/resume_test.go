package cmd

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// resume opens a tunnel with id and token.
func (p *member) resume(t testing.TB, token string, pairs ...string) *tunnel {
	t.Helper()
	return p.w.dial(t, p.n, "/im/login?"+query(append([]string{"id", p.id, "token", token}, pairs...)...))
}

func (p *member) logout(t testing.TB, token string) reply {
	t.Helper()
	return p.w.do(t, p.n, http.MethodPost, "/im/logout", `{"id":"`+p.id+`","token":"`+token+`"}`)
}

// testResume checks a login with a token. The answer contains the same token, since it is new.
func testResume(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	for _, path := range []string{"/im/login?", "/im/login/im/login?"} {
		c := w.dial(t, a.n, path+query("id", " "+a.id+" ", "token", a.token, "push", "1"))
		var login loginAnswer
		if err := json.Unmarshal([]byte(c.next(t)), &login); err != nil || login.Code != 200 || login.Token != a.token || login.Profile.ID != a.id || len(login.Friends) != 1 {
			t.Fatalf("%+v, %v", login, err)
		}
		c.send(t, dialogue(`"1"`, b.id, `"x"`))
		c.want(t, replyFrame(`"1"`, 200))
		c.close(t)
	}
}

func testResumeRefusals(t *testing.T, w *world) {
	two := w.newMembers(t, 2)
	a, b := two[0], two[1]
	never := strings.Repeat("0", 32)
	for what, row := range map[string]struct {
		query string
		want  int
	}{
		"wrong token":      {query("id", a.id, "token", never), 515},
		"another's token":  {query("id", a.id, "token", b.token), 515},
		"unknown id":       {query("id", never, "token", a.token), 515},
		"no id at all":     {query("id", "*", "token", a.token), 515},
		"no token":         {query("id", a.id), 514},
		"no id":            {query("token", a.token), 517},
		"blank id":         {query("id", " ", "token", a.token), 517},
		"both ways":        {query("id", a.id, "token", a.token, "account", a.account, "password", a.password), 403},
		"and the password": {query("id", a.id, "token", a.token, "password", a.password), 403},
		"push=2":           {query("id", a.id, "token", a.token, "push", "2"), 403},
		"token twice":      {query("id", a.id, "token", a.token, "token", a.token), 403},
	} {
		c := w.dial(t, a.n, "/im/login?"+row.query)
		if got := c.next(t); got != replyBody(row.want) {
			t.Errorf("%s: %s", what, got)
		}
		c.wantClose(t, websocket.ClosePolicyViolation)
	}
	// Disabling an account revokes its tokens and refuses its password.
	if err := w.services().Accounts.SetDisabled(t.Context(), a.id, true); err != nil {
		t.Fatal(err)
	}
	a.tunnel.wantClose(t, websocket.ClosePolicyViolation)
	a.resume(t, a.token).want(t, replyBody(515))
	w.dial(t, a.n, "/im/login?"+query("account", a.account, "password", a.password)).want(t, replyBody(505))
	if err := w.services().Accounts.SetDisabled(t.Context(), a.id, false); err != nil {
		t.Fatal(err)
	}
	a.resume(t, a.token).want(t, replyBody(515))
	a.login(t)
}

// testLogout checks that a logout revokes one token and ends only its sessions.
func testLogout(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	watch, _ := b.openTunnel(t, "push", "1")
	other, login := a.openTunnel(t)
	same := a.resume(t, a.token)
	if a := (reply{body: same.next(t)}); a.code() != 200 {
		t.Fatal(a.body)
	}
	never := strings.Repeat("0", 32)
	for what, row := range map[string]struct {
		body string
		want int
	}{
		"nothing": {``, 403}, "a list": {`[]`, 403}, "a number": {`{"id":1,"token":"` + a.token + `"}`, 403},
		"no token": {`{"id":"` + a.id + `"}`, 514}, "no id": {`{"token":"` + a.token + `"}`, 517},
		"wrong token": {`{"id":"` + a.id + `","token":"` + never + `"}`, 515}, "another's token": {`{"id":"` + a.id + `","token":"` + b.token + `"}`, 515},
	} {
		w.do(t, a.n, http.MethodPost, "/im/logout", row.body).want(t, what, replyBody(row.want))
	}
	w.do(t, a.n, http.MethodGet, "/im/logout?"+query("id", a.id, "token", a.token), "").want(t, "GET", replyBody(403))
	a.logout(t, a.token).want(t, "logout", replyBody(200))
	a.tunnel.wantClose(t, websocket.CloseNormalClosure)
	same.wantClose(t, websocket.CloseNormalClosure)
	a.logout(t, a.token).want(t, "logout again", replyBody(515))
	a.resume(t, a.token).want(t, replyBody(515))
	a.call(t, "found", "name", "x").want(t, "call", replyBody(515))
	other.send(t, dialogue(`"1"`, b.id, `"x"`))
	other.want(t, replyFrame(`"1"`, 200))
	watch.want(t, dialogueFrame(`"1"`, a.id, `"x"`)) // without a notice of being offline before
	a.logout(t, login.Token).want(t, "the other's logout", replyBody(200))
	other.wantClose(t, websocket.CloseNormalClosure)
	watch.want(t, noticeFrame(300, "Friend Offline", a))
	a.login(t)
	watch.want(t, noticeFrame(302, "Friend Online", a))
}
