package cmd

import (
	"testing"

	"github.com/gorilla/websocket"
)

// refused checks that a login with this password is answered 505.
func (p *member) refused(t testing.TB, what, password string) {
	t.Helper()
	c := p.w.dial(t, p.n, "/im/login?"+query("account", p.account, "password", password))
	if got := c.next(t); got != replyBody(505) {
		t.Errorf("%s: login: got %s, want code 505", what, got)
	}
	c.wantClose(t, websocket.ClosePolicyViolation)
}

// testDisabled checks that a disabled user cannot log in, is offline and is not found, until it is enabled again.
func testDisabled(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	c := w.newMembers(t, 1)[0]
	second, _ := b.openTunnel(t)
	if err := w.services().Accounts.SetDisabled(t.Context(), b.id, true); err != nil {
		t.Fatal(err)
	}
	b.tunnel.wantClose(t, websocket.ClosePolicyViolation)
	second.wantClose(t, websocket.ClosePolicyViolation)
	if code := a.talk(t, b, "1"); code != 508 {
		t.Errorf("dialogue to a disabled user: got code %d", code)
	}
	b.refused(t, "disabled", b.password)
	b.refused(t, "disabled", "wrong")
	b.call(t, "found", "name", "x").want(t, "call of who is disabled", replyBody(515))
	c.call(t, "request", "to", b.id).want(t, "request to who is disabled", replyBody(523))
	if found := c.names(t, b.account); len(found) != 0 {
		t.Errorf("a disabled user was found: %q", found)
	}
	w.register(t, 0, `{"account":"`+b.account+`","password":"p","mail":"m"}`).want(t, "registration of a disabled account", replyBody(504))

	if err := w.services().Accounts.SetDisabled(t.Context(), b.id, false); err != nil {
		t.Fatal(err)
	}
	b.call(t, "found", "name", "x").want(t, "a token of before", replyBody(515))
	b.login(t)
	b.wantFriends(t, "enabled", map[*member]string{a: "alias of " + a.account})
	if code := a.talk(t, b, "2"); code != 200 {
		t.Errorf("dialogue to the enabled user: got code %d, want 200", code)
	}
}

// testDeleted checks that a deletion removes all data of the user, and that the account can be registered again.
func testDeleted(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	asking := w.newMembers(t, 2)
	asking[0].call(t, "request", "to", b.id).want(t, "request", replyBody(200))
	b.call(t, "request", "to", asking[1].id).want(t, "request", replyBody(200))
	old := *b
	if err := w.services().Accounts.Delete(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	b.tunnel.wantClose(t, websocket.ClosePolicyViolation)
	if code := a.talk(t, b, "1"); code != 512 {
		t.Errorf("dialogue to a deleted user: got code %d", code)
	}
	b.refused(t, "deleted", b.password)
	b.call(t, "found", "name", "x").want(t, "call of who is deleted", replyBody(515))
	a.wantFriends(t, "deleted", nil)
	asking[1].wantRequests(t, "asked by who is deleted", nil)
	for _, p := range []*member{a, asking[0], asking[1]} {
		p.call(t, "request", "to", b.id).want(t, "request to who is deleted", replyBody(523))
		p.call(t, "add", "from", b.id, "name", "x").want(t, "add of who is deleted", replyBody(523))
		p.call(t, "remove", "to", b.id).want(t, "remove of who is deleted", replyBody(512))
	}
	if found := a.names(t, b.account); len(found) != 0 {
		t.Errorf("a deleted user was found: %q", found)
	}
	w.register(t, 0, `{"account":"`+b.account+`","password":"another","mail":"m"}`).want(t, "the account is free", replyBody(200))
	b.refused(t, "the account is another's", b.password)
	b.password = "another"
	if b.login(t); b.id == old.id {
		t.Error("the new user has the id of the deleted user")
	}
	b.wantFriends(t, "somebody else", nil)
	b.wantRequests(t, "somebody else", nil)
	old.call(t, "found", "name", "x").want(t, "a token of before", replyBody(515))
}

// testPassword checks that a new password ends the sessions and tokens of the old one.
func testPassword(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	if err := w.services().Accounts.SetPassword(t.Context(), b.id, "changed-password"); err != nil {
		t.Fatal(err)
	}
	b.tunnel.wantClose(t, websocket.ClosePolicyViolation)
	b.call(t, "found", "name", "x").want(t, "a token of before", replyBody(515))
	b.refused(t, "the old password", b.password)
	b.password = "changed-password"
	w.secret(b.password)
	b.login(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue after the change: got code %d, want 200", code)
	}
}
