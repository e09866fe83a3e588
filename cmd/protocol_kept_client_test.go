package cmd

import (
	"encoding/json"
	"fmt"
	"regexp"
	"testing"
	"time"
)

// serverTime matches the server's time in a frame.
var serverTime = regexp.MustCompile(`"at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)

const anyTime = `"at":"<time>"`

// wantKept reads frames and compares them with frames, in which the server's time is anyTime. It skips the presence of
// friends, which may come twice and at any time if there are several servers, and late news of the new friendship.
func (c *tunnel) wantKept(t testing.TB, frames ...string) {
	t.Helper()
	for _, want := range frames {
		if got := serverTime.ReplaceAllString(c.nextOf(t), anyTime); got != want {
			t.Fatalf("frame:\n got %s\nwant %s", got, want)
		}
	}
}

// wantAfterNews is wantKept for sessions of a user whose friend has contract sessions: 303 tells them also that these
// have the friend's own dialogues.
func (c *tunnel) wantAfterNews(t testing.TB, want string) {
	t.Helper()
	for {
		got := serverTime.ReplaceAllString(c.nextOf(t), anyTime)
		if got == want {
			return
		}
		if (reply{body: got}).code() != 303 {
			t.Fatalf("frame:\n got %s\nwant %s", got, want)
		}
	}
}

// wantBoth checks that the next two frames are these, in either order: a friend's client may have a dialogue before its
// sender is answered.
func (c *tunnel) wantBoth(t testing.TB, one, other string) {
	t.Helper()
	first, second := serverTime.ReplaceAllString(c.nextOf(t), anyTime), serverTime.ReplaceAllString(c.nextOf(t), anyTime)
	if (first != one || second != other) && (first != other || second != one) {
		t.Fatalf("frames:\n got %s\n and %s\nwant %s\n and %s", first, second, one, other)
	}
}

func (c *tunnel) nextOf(t testing.TB) string {
	t.Helper()
	for {
		frame := c.next(t)
		if code := (reply{body: frame}).code(); code != 300 && code != 302 && code != 524 {
			return frame
		}
	}
}

// wantQuiet checks that no frame has come that was not read.
func (c *tunnel) wantQuiet(t testing.TB) {
	t.Helper()
	c.send(t, `{"id":"quiet"}`)
	c.wantKept(t, replyFrame(`"quiet"`, 510))
}

// keptAnswer returns the answer to a dialogue that is kept. id is a JSON text, like id and payload below.
func keptAnswer(id string, n int) string {
	return fmt.Sprintf(`{"code":202,"message":"Dialogue Kept","ok":true,"id":%s,"n":%d,%s}`, id, n, anyTime)
}

// keptEntry returns the frame that sessions with keep receive. more are further fields, with a comma before each.
func keptEntry(id string, from *member, payload string, with *member, n int, more string) string {
	return fmt.Sprintf(`{"id":%s,"from":"%s","payload":%s,"with":"%s","n":%d,%s%s}`, id, from.id, payload, with.id, n, anyTime, more)
}

// keptNews returns the frame 303 or 304.
func keptNews(code int, friend *member, n int, more string) string {
	return fmt.Sprintf(`{"code":%d,"message":"%s","ok":true,"id":"%s","n":%d%s}`, code, map[int]string{303: "Dialogue Delivered", 304: "Dialogue Read"}[code], friend.id, n, more)
}

// keeps opens a session with keep=1 and returns the answer to its login.
func (p *member) keeps(t testing.TB) (*tunnel, string) {
	t.Helper()
	c := p.w.dial(t, p.n, "/im/login?"+query("account", p.account, "password", p.password, "keep", "1"))
	frame := serverTime.ReplaceAllString(c.next(t), anyTime)
	p.w.secret(firstGroup(frame, `"token":"([^"]*)"`))
	return c, frame
}

// newKeepers returns two friends of whom each has one session, with keep=1.
func newKeepers(t testing.TB, w *world) (a, b *member, ca, cb *tunnel) {
	t.Helper()
	a, b = w.newFriends(t)
	for _, p := range []*member{a, b} {
		p.tunnel.close(t)
	}
	ca, _ = a.keeps(t)
	cb, _ = b.keeps(t)
	return a, b, ca, cb
}

// wantTalks waits until logins show these conversations, on the next server too: cursors are written once a second.
func (p *member) wantTalks(t testing.TB, want string) {
	t.Helper()
	for _, p := range []*member{p, p.onNextServer()} {
		var got string
		deadline := time.Now().Add(waitTimeout)
		for got = ""; got != want; {
			c, login := p.keeps(t)
			got = talksOf(t, login)
			c.close(t)
			if got != want && time.Now().After(deadline) {
				t.Fatalf("conversations:\n got %s\nwant %s", got, want)
			}
		}
	}
}

// talksOf returns the list of conversations in the answer to a login.
func talksOf(t testing.TB, login string) string {
	t.Helper()
	var a map[string]json.RawMessage
	if err := json.Unmarshal([]byte(login), &a); err != nil {
		t.Fatal(err)
	}
	return string(a["talks"])
}
