package cmd

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// testPush checks that only sessions with push=1 get notices.
func testPush(t *testing.T, w *world) {
	two := w.newMembers(t, 2)
	a, b := two[0], two[1]
	pushA, _ := a.openTunnel(t, "push", "1")
	pushB, _ := b.openTunnel(t, "push", "1")
	head := func(code, message string) string {
		return `{"code":` + code + `,"message":"` + message + `","ok":true,`
	}
	profile := func(p *member, name, sign string) string {
		return `"id":"` + p.id + `","name":"` + name + `","picture":"","sex":"","birthday":"","sign":"` + sign + `"`
	}

	a.call(t, "request", "to", b.id, "note", `say "hi"`).want(t, "request", replyBody(200))
	pushB.want(t, head("520", "Apply For a Friend")+`"request":{"id":"`+a.id+`","name":"`+a.account+`","to":"`+b.id+`","note":"say \"hi\""}}`)
	b.call(t, "add", "from", a.id, "name", "A").want(t, "add", replyBody(200))
	pushA.want(t, head("524", "Friend Added")+`"friend":{`+profile(b, b.account, "")+`,"online":true}}`)
	pushB.want(t, head("524", "Friend Added")+`"friend":{`+profile(a, "A", "")+`,"online":true}}`)

	a.update(t, `"sign":"new"`).want(t, "profile", replyBody(200))
	pushB.want(t, head("301", "Refresh Friend's Profile")+profile(a, a.account, "new")+`}`)

	// Friends are notified only of the first and the last session.
	pushA.close(t)
	if code := b.talk(t, a, "1"); code != 200 {
		t.Errorf("dialogue to the remaining session: got code %d, want 200", code)
	}
	a.tunnel.want(t, dialogueFrame(`"1"`, b.id, `"hello"`))
	pushB.want(t, `{"id":"1","from":"`+b.id+`","toFriend":"`+a.id+`","payload":"hello"}`) // the echo
	a.tunnel.close(t)
	offline := head("300", "Friend Offline") + `"id":"` + a.id + `"}`
	pushB.want(t, offline)
	a.login(t)
	got := pushB.next(t)
	if got == offline { // the node whose session ended first looks for others later, and finds that the last one has ended
		got = pushB.next(t)
	}
	if want := head("302", "Friend Online") + `"id":"` + a.id + `"}`; got != want {
		t.Errorf("after the login: got %s, want %s", got, want)
	}

	pushA, _ = a.openTunnel(t, "push", "1")
	b.call(t, "remove", "to", a.id).want(t, "remove", replyBody(200))
	// A login on another node may come before the session before has written how far a has come.
	nextOfA := func(tunnel *tunnel) string {
		frame := tunnel.next(t)
		if frame == dialogueFrame(`"1"`, b.id, `"hello"`) {
			frame = tunnel.next(t)
		}
		return frame
	}
	if got, want := nextOfA(pushA), head("525", "Friend Removed")+`"id":"`+b.id+`"}`; got != want {
		t.Errorf("after the removal: got %s, want %s", got, want)
	}
	pushB.want(t, head("525", "Friend Removed")+`"id":"`+a.id+`"}`)

	// A tunnel without push=1 got no notices: its next frame is an answer.
	for _, ends := range [][2]*member{{a, b}, {b, a}} {
		tunnel := ends[0].tunnel
		tunnel.send(t, dialogue(`"2"`, ends[1].id, `"hello"`))
		if got := nextOfA(tunnel); got != replyFrame(`"2"`, 512) {
			t.Errorf("dialogue after the removal: got %s", got)
		}
	}
}

// update changes the profile. fields is the JSON text of the fields.
func (p *member) update(t testing.TB, fields string) reply {
	t.Helper()
	return p.w.do(t, p.n, http.MethodPost, "/im/profile/update", `{"id":"`+p.id+`","token":"`+p.token+`",`+fields+`}`)
}

// testProfile checks that an update changes the given fields, and keeps missing and null fields.
func testProfile(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	never := strings.Repeat("0", 32)
	for _, row := range []struct {
		what, body string
		want       int
	}{
		{"nothing", ``, 403}, {"a list", `[]`, 403}, {"name is a number", `{"id":"` + a.id + `","token":"` + a.token + `","name":1}`, 403},
		{"sign too long", `{"id":"` + a.id + `","token":"` + a.token + `","sign":"` + strings.Repeat("x", 513) + `"}`, 403},
		{"no field", `{}`, 514}, {"token is null", `{"id":"` + a.id + `","token":null}`, 514}, {"blank token", `{"id":"","token":" "}`, 514},
		{"no id", `{"token":"` + a.token + `"}`, 517}, {"blank id", `{"id":" ","token":"` + never + `"}`, 517},
		{"wrong token", `{"id":"` + a.id + `","token":"` + never + `"}`, 515}, {"another's token", `{"id":"` + a.id + `","token":"` + b.token + `"}`, 515},
	} {
		w.do(t, a.n, http.MethodPost, "/im/profile/update", row.body).want(t, row.what, replyBody(row.want))
	}
	w.do(t, a.n, http.MethodGet, "/im/profile/update", "").want(t, "GET", replyBody(403))

	want := profileEntry{ID: a.id, Name: "New " + a.account, Picture: "pic", Sex: "s", Birthday: "b", Sign: "line\nline"}
	fields, err := json.Marshal(map[string]string{"name": " " + want.Name, "picture": "pic", "sex": "s", "birthday": "b", "sign": want.Sign})
	if err != nil {
		t.Fatal(err)
	}
	a.update(t, strings.Trim(string(fields), "{}")).want(t, "all", replyBody(200))
	a.update(t, `"name":null,"picture":null,"sex":null,"birthday":null,"sign":null,"mail":null,"password":null`).want(t, "nothing", replyBody(200))
	if got := a.list(t).Profile; got != want {
		t.Errorf("profile: got %+v, want %+v", got, want)
	}
	friend := b.list(t).Friends[0]
	if want.Name = "alias of " + a.account; friend.profileEntry != want {
		t.Errorf("profile at the friend: got %+v, want %+v", friend, want)
	}
	if got := b.names(t, "new "+a.account); len(got) != 1 || got[0] != a.id {
		t.Errorf("search for the new name: got %q", got)
	}
	if got := b.names(t, a.account); len(got) != 0 {
		t.Errorf("search for the old name: got %q", got)
	}

	// A new password ends all sessions and tokens except those of the token in the request.
	other, login := a.openTunnel(t)
	a.update(t, `"password":"changed-by-user"`).want(t, "password", replyBody(200))
	other.wantClose(t, 1008)
	stolen := *a
	stolen.token = login.Token
	stolen.call(t, "found", "name", "x").want(t, "the other session's token", replyBody(515))
	a.call(t, "found", "name", fresh("nobody")).want(t, "the token that came with it", `{"code":200,"found":null,"message":"Success","ok":true}`)
	a.refused(t, "the old password", a.password)
	a.password = "changed-by-user"
	w.secret(a.password)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue from the remaining session: got code %d, want 200", code)
	}
	a.login(t)
}
