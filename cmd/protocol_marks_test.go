package cmd

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// testKeptMarks marks a conversation before it has a dialogue, and checks that the user's sessions on all nodes are told
// and that the friend is not.
func testKeptMarks(t *testing.T, w *world) {
	a, b, ca, cb := newKeepers(t, w)
	a2, _ := a.onNextServer().keeps(t)
	mark := func(with, marks string, code int) {
		t.Helper()
		body := `{"id":"` + a.id + `","token":"` + a.token + `","with":"` + with + `"` + marks + `}`
		w.do(t, a.n, http.MethodPost, "/im/dialogues/mark", body).want(t, "mark "+marks, replyBody(code))
	}
	told := func(pinned, archived, muted bool) {
		t.Helper()
		for _, c := range []*tunnel{ca, a2} {
			c.wantKept(t, fmt.Sprintf(`{"code":306,"message":"Conversation Marked","ok":true,"id":"%s","pinned":%t,"archived":%t,"muted":%t}`, b.id, pinned, archived, muted))
		}
	}
	mark(b.id, `,"pinned":true`, 200)
	told(true, false, false)
	empty := fmt.Sprintf(`{"with":"%s","last":0,"got":0,"read":0,"peerGot":0,"peerRead":0,"entry":null`, b.id)
	a.wantTalks(t, `[`+empty+`,"pinned":true}]`)
	mark(b.id, `,"muted":true,"archived":true`, 200)
	told(true, true, true)
	mark(b.id, `,"pinned":false,"archived":false`, 200)
	told(false, false, true)
	ca.send(t, dialogue(`"1"`, b.id, `"p"`))
	ca.wantKept(t, keptAnswer(`"1"`, 1))
	a2.wantKept(t, keptEntry(`"1"`, a, `"p"`, b, 1, ""))
	cb.wantKept(t, keptEntry(`"1"`, a, `"p"`, a, 1, ""))
	a.wantTalks(t, fmt.Sprintf(`[{"with":"%s","last":1,"got":0,"read":0,"peerGot":0,"peerRead":0,"entry":%s,"muted":true}]`, b.id, keptEntry(`"1"`, a, `"p"`, b, 1, "")))
	mark(strings.Repeat("0", 32), `,"muted":true`, 512)
	mark(a.id, `,"muted":true`, 512)
	mark("", `,"muted":true`, 519)
	mark(b.id, `,"muted":"no"`, 403)
	a.call(t, "remove", "to", b.id).want(t, "remove", replyBody(200))
	mark(b.id, `,"muted":false`, 200) // the conversation is still there
	for _, c := range []*tunnel{ca, a2} {
		c.wantBoth(t, fmt.Sprintf(`{"code":525,"message":"Friend Removed","ok":true,"id":"%s"}`, b.id),
			fmt.Sprintf(`{"code":306,"message":"Conversation Marked","ok":true,"id":"%s","pinned":false,"archived":false,"muted":false}`, b.id))
	}
	cb.wantKept(t, fmt.Sprintf(`{"code":525,"message":"Friend Removed","ok":true,"id":"%s"}`, a.id))
	cb.wantQuiet(t)
}
