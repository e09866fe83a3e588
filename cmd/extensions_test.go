package cmd

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// news is a frame of the protocol's family about somebody.
func news(code int, message string, about *member) string {
	return fmt.Sprintf(`{"code":%d,"message":"%s","ok":true,"id":"%s"}`, code, message, about.id)
}

// TestFamily runs what the protocol's family adds on one server and on two.
func TestFamily(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T) deployment{
		"one server":  func(t *testing.T) deployment { return start(t) },
		"two servers": func(t *testing.T) deployment { return startBridges(t, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := inhabit(t, begin(t))
			for name, table := range map[string]func(*testing.T, *world){
				"echo":             testEcho,
				"presence":         testPresenceOfSeveral,
				"requests":         testRequestNews,
				"resume":           testResume,
				"resume: refusals": testResumeRefusals,
				"logout":           testLogout,
				"mail":             testMailChanges,
				"picture":          testPictureLimit,
				"who is told":      testWhoIsTold,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					table(t, w)
				})
			}
		})
	}
}

// testPresenceOfSeveral: friends hear of the first session and of the last, wherever they are.
func testPresenceOfSeveral(t *testing.T, w *world) {
	a, b := w.pair(t)
	watch, _ := b.another(t, "push", "1")
	second, _ := a.elsewhere().another(t)
	third, _ := a.another(t)
	a.tunnel.close(t)
	second.close(t)
	third.close(t)
	// Two servers whose last sessions end at once may both say so, and say twice that it is back: the last word counts.
	_, several := w.deployment.(bridges)
	told := func(want string) {
		t.Helper()
		frame := watch.next(t)
		for several && frame != want && (frame == news(300, "Friend Offline", a) || frame == news(302, "Friend Online", a)) {
			frame = watch.next(t)
		}
		if frame != want {
			t.Fatalf("frame:\n got %s\nwant %s", frame, want)
		}
	}
	told(news(300, "Friend Offline", a))
	back, _ := a.elsewhere().another(t) // on the other server
	told(news(302, "Friend Online", a))
	// Who is no friend any more is no news.
	b.call(t, "remove", "to", a.id).want(t, "remove", says(200))
	told(news(525, "Friend Removed", a))
	back.close(t)
	a.login(t)
	a.call(t, "request", "to", b.id).want(t, "request", says(200))
	told(`{"code":520,"message":"Apply For a Friend","ok":true,"request":{"id":"` + a.id + `","name":"` + a.account + `","to":"` + b.id + `","note":""}}`)
}

// testRequestNews: an answered request, a declined one, and one that is asked again.
func testRequestNews(t *testing.T, w *world) {
	two := w.people(t, 2)
	a, b := two[0], two[1]
	pushA, _ := a.another(t, "push", "1")
	pushB, _ := b.another(t, "push", "1")
	asks := func(note string) string {
		return `{"code":520,"message":"Apply For a Friend","ok":true,"request":{"id":"` + a.id + `","name":"` + a.account + `","to":"` + b.id + `","note":"` + note + `"}}`
	}
	a.call(t, "request", "to", b.id, "note", "one").want(t, "request", says(200))
	pushB.want(t, asks("one"))
	// Declined: the answer is 512, since they were no friends, and the request is gone for both.
	b.call(t, "remove", "to", a.id).want(t, "decline", says(512))
	pushA.want(t, news(525, "Friend Removed", b))
	pushB.want(t, news(525, "Friend Removed", a))
	if got := b.list(t).Requests; got != nil {
		t.Errorf("a declined request: %v", got)
	}
	b.call(t, "add", "from", a.id, "name", "x").want(t, "add after all", says(523))
	a.call(t, "request", "to", b.id, "note", "two").want(t, "request again", says(200))
	pushB.want(t, asks("two"))
	b.call(t, "add", "from", a.id, "name", "A").want(t, "add", says(200))
	for c, added := range map[*tunnel][]string{pushA: {b.id, b.account}, pushB: {a.id, "A"}} {
		c.want(t, `{"code":524,"message":"Friend Added","ok":true,"friend":{"id":"`+added[0]+`","name":"`+added[1]+`","picture":"","sex":"","birthday":"","sign":"","online":true}}`)
	}
	for _, c := range []*tunnel{a.tunnel, b.tunnel} {
		c.send(t, dialogue(`"1"`, "nobody", `"x"`))
		c.want(t, saysTo(`"1"`, 512))
	}
}

// testMailChanges: the address is nobody else's business, and the account stays whatever is sent.
func testMailChanges(t *testing.T, w *world) {
	a, b := w.pair(t)
	watch, _ := b.another(t, "push", "1")
	for _, fields := range []string{`"mail":""`, `"mail":" "`, `"mail":1`, `"mail":"a\nb"`, `"mail":"` + strings.Repeat("m", 255) + `"`, `"password":""`} {
		a.update(t, fields).want(t, fields, says(403))
	}
	a.update(t, `"mail":" new@example.org ","account":"other","disabled":true`).want(t, "mail", says(200))
	u, err := w.service().Authorize(t.Context(), a.id, a.token)
	if err != nil || u.Mail != "new@example.org" || u.Account != a.account || u.Name != a.account {
		t.Errorf("%q %q %q, %v", u.Mail, u.Account, u.Name, err)
	}
	// Friends are told of what they see: the next is the name that was emptied.
	a.update(t, `"name":"Else"`).want(t, "name", says(200))
	a.update(t, `"name":" "`).want(t, "empty name", says(200))
	for _, name := range []string{"Else", a.account} {
		watch.want(t, `{"code":301,"message":"Refresh Friend's Profile","ok":true,"id":"`+a.id+`","name":"`+name+`","picture":"","sex":"","birthday":"","sign":""}`)
	}
	if entry := a.list(t).Profile; entry.Name != a.account {
		t.Errorf("an emptied name is %q", entry.Name)
	}
}

func testPictureLimit(t *testing.T, w *world) {
	a := w.people(t, 1)[0]
	const limit = 64 << 10
	picture := strings.Repeat("A", limit)
	a.update(t, `"picture":"`+picture+`"`).want(t, "the largest", says(200))
	a.update(t, `"picture":"`+picture+`A"`).want(t, "one byte more", says(403))
	a.update(t, `"picture":"`+strings.Repeat(`\u0041`, limit)+`"`).wantStatus(t, "a body too large", http.StatusRequestEntityTooLarge, says(403))
	if got := a.list(t).Profile.Picture; got != picture {
		t.Errorf("the picture is of %d bytes", len(got))
	}
	a.update(t, `"picture":""`).want(t, "none", says(200))
	if got := a.list(t).Profile.Picture; got != "" {
		t.Errorf("an emptied picture is of %d bytes", len(got))
	}
}

// testWhoIsTold: strangers, those who merely asked and one's own sessions hear nothing of a change that friends hear of.
func testWhoIsTold(t *testing.T, w *world) {
	a, friend := w.pair(t)
	stranger, asked := w.stranger(t, 0), w.stranger(t, 1)
	stranger.login(t)
	asked.login(t)
	asked.call(t, "request", "to", a.id).want(t, "request", says(200))
	open := func(p *member) *tunnel { c, _ := p.another(t, "push", "1"); return c }
	told, others := open(friend), []*tunnel{open(stranger), open(asked), open(a)}
	a.update(t, `"sign":"s"`).want(t, "sign", says(200))
	told.want(t, `{"code":301,"message":"Refresh Friend's Profile","ok":true,"id":"`+a.id+`","name":"`+a.account+`","picture":"","sex":"","birthday":"","sign":"s"}`)
	second := open(a)
	second.close(t)
	if code := a.talk(t, friend, "1"); code != 200 {
		t.Error(code)
	}
	told.want(t, received(`"1"`, a.id, `"hello"`))
	others[2].want(t, echoed(`"1"`, a, friend, `"hello"`))
	for _, c := range others {
		c.send(t, dialogue(`"2"`, "nobody", `"x"`))
		c.want(t, saysTo(`"2"`, 512))
	}
}
