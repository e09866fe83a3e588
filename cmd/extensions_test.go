package cmd

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// noticeFrame returns a notice about a user.
func noticeFrame(code int, message string, about *member) string {
	return fmt.Sprintf(`{"code":%d,"message":"%s","ok":true,"id":"%s"}`, code, message, about.id)
}

// TestProtocolExtensions runs tables for echo, presence, notices, resume, logout and profiles on one and on two
// servers.
func TestProtocolExtensions(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T) deployment{
		"one server":  func(t *testing.T) deployment { return start(t) },
		"two servers": func(t *testing.T) deployment { return startBridges(t, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, begin(t))
			for name, table := range map[string]func(*testing.T, *world){
				"echo":             testEcho,
				"presence":         testPresenceOnServers,
				"request notices":  testRequestNotices,
				"resume":           testResume,
				"resume: refusals": testResumeRefusals,
				"logout":           testLogout,
				"mail":             testMailChanges,
				"picture":          testPictureLimit,
				"profile notices":  testProfileNotices,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					table(t, w)
				})
			}
		})
	}
}

// testPresenceOnServers checks that friends are notified of the first and the last session of a user, on any server.
func testPresenceOnServers(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	watch, _ := b.openTunnel(t, "push", "1")
	second, _ := a.onNextServer().openTunnel(t)
	third, _ := a.openTunnel(t)
	a.tunnel.close(t)
	second.close(t)
	third.close(t)
	// If the last sessions on two servers end at the same time, both may send a notice. Only the last notice counts.
	_, several := w.deployment.(bridges)
	wantNotice := func(want string) {
		t.Helper()
		frame := watch.next(t)
		for several && frame != want && (frame == noticeFrame(300, "Friend Offline", a) || frame == noticeFrame(302, "Friend Online", a)) {
			frame = watch.next(t)
		}
		if frame != want {
			t.Fatalf("frame:\n got %s\nwant %s", frame, want)
		}
	}
	wantNotice(noticeFrame(300, "Friend Offline", a))
	back, _ := a.onNextServer().openTunnel(t) // on the other server
	wantNotice(noticeFrame(302, "Friend Online", a))
	// A removed friend gets no more presence notices.
	b.call(t, "remove", "to", a.id).want(t, "remove", replyBody(200))
	wantNotice(noticeFrame(525, "Friend Removed", a))
	back.close(t)
	a.login(t)
	a.call(t, "request", "to", b.id).want(t, "request", replyBody(200))
	wantNotice(`{"code":520,"message":"Apply For a Friend","ok":true,"request":{"id":"` + a.id + `","name":"` + a.account + `","to":"` + b.id + `","note":""}}`)
}

// testRequestNotices checks the notices of a request, of declining it, of repeating it, and of accepting it.
func testRequestNotices(t *testing.T, w *world) {
	two := w.newMembers(t, 2)
	a, b := two[0], two[1]
	pushA, _ := a.openTunnel(t, "push", "1")
	pushB, _ := b.openTunnel(t, "push", "1")
	asks := func(note string) string {
		return `{"code":520,"message":"Apply For a Friend","ok":true,"request":{"id":"` + a.id + `","name":"` + a.account + `","to":"` + b.id + `","note":"` + note + `"}}`
	}
	a.call(t, "request", "to", b.id, "note", "one").want(t, "request", replyBody(200))
	pushB.want(t, asks("one"))
	// Declining is a remove. It is answered 512, since the users are not friends, and removes the request at both ends.
	b.call(t, "remove", "to", a.id).want(t, "decline", replyBody(512))
	pushA.want(t, noticeFrame(525, "Friend Removed", b))
	pushB.want(t, noticeFrame(525, "Friend Removed", a))
	if got := b.list(t).Requests; got != nil {
		t.Errorf("the declined request is still listed: %v", got)
	}
	b.call(t, "add", "from", a.id, "name", "x").want(t, "add after all", replyBody(523))
	// Within the cooldown another request goes nowhere, and its sender cannot tell.
	a.call(t, "request", "to", b.id, "note", "two").want(t, "request again", replyBody(200))
	if got := b.list(t).Requests; got != nil {
		t.Errorf("a request within the cooldown is listed: %v", got)
	}
	b.call(t, "add", "from", a.id, "name", "x").want(t, "add within the cooldown", replyBody(523))
	// The user who declined may ask, and shows the next frame.
	b.call(t, "request", "to", a.id, "note", "three").want(t, "request of the user who declined", replyBody(200))
	pushA.want(t, `{"code":520,"message":"Apply For a Friend","ok":true,"request":{"id":"`+b.id+`","name":"`+b.account+`","to":"`+a.id+`","note":"three"}}`)
	a.call(t, "add", "from", b.id, "name", "B").want(t, "add", replyBody(200))
	for c, added := range map[*tunnel][]string{pushA: {b.id, "B"}, pushB: {a.id, a.account}} {
		c.want(t, `{"code":524,"message":"Friend Added","ok":true,"friend":{"id":"`+added[0]+`","name":"`+added[1]+`","picture":"","sex":"","birthday":"","sign":"","online":true}}`)
	}
	for _, c := range []*tunnel{a.tunnel, b.tunnel} {
		c.send(t, dialogue(`"1"`, "nobody", `"x"`))
		c.want(t, replyFrame(`"1"`, 512))
	}
}

// testMailChanges checks that a change of the mail address notifies no friends, and that an update cannot change the
// account.
func testMailChanges(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	watch, _ := b.openTunnel(t, "push", "1")
	for _, fields := range []string{`"mail":""`, `"mail":" "`, `"mail":1`, `"mail":"a\nb"`, `"mail":"` + strings.Repeat("m", 255) + `"`, `"password":""`} {
		a.update(t, fields).want(t, fields, replyBody(403))
	}
	a.update(t, `"mail":" new@example.org ","account":"other","disabled":true`).want(t, "mail", replyBody(200))
	u, _, err := w.services().Accounts.Authorize(t.Context(), a.id, a.token)
	if err != nil || u.Mail != "new@example.org" || u.Account != a.account || u.Name != a.account {
		t.Errorf("%q %q %q, %v", u.Mail, u.Account, u.Name, err)
	}
	// Friends are notified only of visible fields. An empty name becomes the account.
	a.update(t, `"name":"Else"`).want(t, "name", replyBody(200))
	a.update(t, `"name":" "`).want(t, "empty name", replyBody(200))
	for _, name := range []string{"Else", a.account} {
		watch.want(t, `{"code":301,"message":"Refresh Friend's Profile","ok":true,"id":"`+a.id+`","name":"`+name+`","picture":"","sex":"","birthday":"","sign":""}`)
	}
	if entry := a.list(t).Profile; entry.Name != a.account {
		t.Errorf("after an empty name: got name %q, want the account %q", entry.Name, a.account)
	}
}

func testPictureLimit(t *testing.T, w *world) {
	a := w.newMembers(t, 1)[0]
	const limit = 64 << 10
	picture := strings.Repeat("A", limit)
	a.update(t, `"picture":"`+picture+`"`).want(t, "the largest", replyBody(200))
	a.update(t, `"picture":"`+picture+`A"`).want(t, "one byte more", replyBody(403))
	a.update(t, `"picture":"`+strings.Repeat(`\u0041`, limit)+`"`).wantStatus(t, "a body too large", http.StatusRequestEntityTooLarge, replyBody(403))
	if got := a.list(t).Profile.Picture; got != picture {
		t.Errorf("got a picture of %d bytes, want %d", len(got), limit)
	}
	a.update(t, `"picture":""`).want(t, "none", replyBody(200))
	if got := a.list(t).Profile.Picture; got != "" {
		t.Errorf("after an empty picture: got %d bytes", len(got))
	}
}

// testProfileNotices checks that a change of the profile notifies friends, but not strangers, users with a pending
// request, or the user's own sessions.
func testProfileNotices(t *testing.T, w *world) {
	a, friend := w.newFriends(t)
	stranger, asked := w.newMember(t, 0), w.newMember(t, 1)
	stranger.login(t)
	asked.login(t)
	asked.call(t, "request", "to", a.id).want(t, "request", replyBody(200))
	open := func(p *member) *tunnel { c, _ := p.openTunnel(t, "push", "1"); return c }
	watcher, others := open(friend), []*tunnel{open(stranger), open(asked), open(a)}
	a.update(t, `"sign":"s"`).want(t, "sign", replyBody(200))
	watcher.want(t, `{"code":301,"message":"Refresh Friend's Profile","ok":true,"id":"`+a.id+`","name":"`+a.account+`","picture":"","sex":"","birthday":"","sign":"s"}`)
	second := open(a)
	second.close(t)
	if code := a.talk(t, friend, "1"); code != 200 {
		t.Error(code)
	}
	watcher.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))
	others[2].want(t, echoFrame(`"1"`, a, friend, `"hello"`))
	for _, c := range others {
		c.send(t, dialogue(`"2"`, "nobody", `"x"`))
		c.want(t, replyFrame(`"2"`, 512))
	}
}
