package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// keptTables are the tables of TestProtocol for conversations that are kept.
var keptTables = map[string]func(*testing.T, *world){
	"kept: login":           testKeptLogin,
	"kept: dialogue":        testKeptDialogue,
	"kept: refusals":        testKeptRefusals,
	"kept: contract":        testKeptContract,
	"kept: offline":         testKeptOffline,
	"kept: sent again":      testKeptAgain,
	"kept: optional fields": testKeptFields,
	"kept: history":         testKeptHistory,
	"kept: forget":          testKeptForget,
	"kept: blocked friend":  testKeptBlocked,
	"kept: marks":           testKeptMarks,
}

func testKeptLogin(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	ca, login := a.keeps(t)
	if got := talksOf(t, login); got != "null" {
		t.Errorf("conversations of a new user: %s", got)
	}
	c := w.dial(t, a.n, "/im/login?"+query("account", a.account, "password", a.password, "keep", "2"))
	c.wantKept(t, replyBody(403))
	ca.send(t, dialogue(`"1"`, b.id, `"p"`))
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"p"`))
	ca.wantBoth(t, keptAnswer(`"1"`, 1), keptNews(303, b, 1, ""))
	a.wantTalks(t, fmt.Sprintf(`[{"with":"%s","last":1,"got":1,"read":0,"peerGot":1,"peerRead":0,"entry":%s}]`, b.id, keptEntry(`"1"`, a, `"p"`, b, 1, "")))
	b.wantTalks(t, fmt.Sprintf(`[{"with":"%s","last":1,"got":1,"read":0,"peerGot":1,"peerRead":0,"entry":%s}]`, a.id, keptEntry(`"1"`, a, `"p"`, a, 1, "")))
	plain := w.dial(t, b.n, "/im/login?"+query("account", b.account, "password", b.password, "push", "1"))
	if answer := plain.next(t); strings.Contains(answer, `"talks"`) {
		t.Errorf("a session without keep=1 is shown conversations: %s", answer)
	}
}

func testKeptDialogue(t *testing.T, w *world) {
	a, b, ca, cb := newKeepers(t, w)
	a2, _ := a.onNextServer().keeps(t)
	b2, _ := b.onNextServer().keeps(t)
	for i := 1; i <= 3; i++ {
		id := fmt.Sprintf(`"\u0041%d"`, i)
		ca.send(t, dialogue(id, b.id, `"é \/"`))
		ca.wantKept(t, keptAnswer(id, i))
		a2.wantKept(t, keptEntry(id, a, `"é \/"`, b, i, ""))
		for _, c := range []*tunnel{cb, b2} {
			c.wantKept(t, keptEntry(id, a, `"é \/"`, a, i, ""))
		}
	}
	cb.send(t, `{"got":3,"with":"`+a.id+`"}`)
	for _, c := range []*tunnel{ca, a2} {
		c.wantKept(t, keptNews(303, b, 3, ""))
	}
	cb.send(t, `{"read":2,"with":"`+a.id+`"}`)
	for _, c := range []*tunnel{ca, a2} {
		c.wantKept(t, keptNews(304, b, 2, ""))
	}
	b2.wantKept(t, keptNews(304, a, 2, `,"own":true`))
	b2.send(t, `{"typing":true,"with":"`+a.id+`"}`)
	for _, c := range []*tunnel{ca, a2} {
		c.wantKept(t, `{"code":305,"message":"Friend Typing","ok":true,"id":"`+b.id+`"}`)
	}
	cb.send(t, `{"ping":"\u0078"}`)
	cb.wantKept(t, `{"code":200,"message":"Success","ok":true,"pong":"\u0078"}`)
	// What is behind, beyond the end, or about strangers changes nothing.
	for _, frame := range []string{`{"got":1,"with":"` + a.id + `"}`, `{"read":1,"with":"` + a.id + `"}`, `{"got":1,"with":"` + strings.Repeat("0", 32) + `"}`, `{"got":1,"with":"x"}`} {
		cb.send(t, frame)
	}
	cb.send(t, dialogue(`"back"`, a.id, `"p"`))
	cb.wantKept(t, keptAnswer(`"back"`, 4))
	for _, c := range []*tunnel{ca, a2} {
		c.wantKept(t, keptEntry(`"back"`, b, `"p"`, b, 4, ""))
	}
	b2.wantKept(t, keptEntry(`"back"`, b, `"p"`, a, 4, ""))
	for _, c := range []*tunnel{ca, a2, cb, b2} {
		c.wantQuiet(t)
	}
}

func testKeptRefusals(t *testing.T, w *world) {
	_, b, ca, cb := newKeepers(t, w)
	never := strings.Repeat("0", 32)
	for _, row := range []struct {
		frame, want string
	}{
		{`x`, replyBody(403)}, {`{"id":1,"toFriend":"` + b.id + `","payload":"p"}`, replyBody(403)}, {`{"id":"1","payload":"p"}`, replyFrame(`"1"`, 510)},
		{`{"id":"1","toFriend":"` + b.id + `"}`, replyFrame(`"1"`, 511)}, {dialogue(`"1"`, never, `"p"`), replyFrame(`"1"`, 512)}, {dialogue(`" "`, b.id, `"p"`), replyBody(506)},
		{`{"id":"1","toFriend":"` + b.id + `","payload":"p","re":1}`, replyFrame(`"1"`, 403)}, {`{"id":"1","toFriend":"` + b.id + `","payload":"p","re":0}`, replyFrame(`"1"`, 403)},
		{`{"id":"1","toFriend":"` + b.id + `","payload":"p","edits":1}`, replyFrame(`"1"`, 403)}, {`{"id":"1","toFriend":"` + b.id + `","deletes":1}`, replyFrame(`"1"`, 403)},
		{`{"id":"1","toFriend":"` + b.id + `","payload":"p","reacts":-1}`, replyFrame(`"1"`, 403)},
	} {
		ca.send(t, row.frame)
		if got := ca.nextOf(t); got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.frame, got, row.want)
		}
	}
	cb.wantQuiet(t)
	ca.send(t, dialogue(`"1"`, b.id, `"p"`))
	ca.wantKept(t, keptAnswer(`"1"`, 1))
}

// testKeptContract checks what sessions without keep=1 see beside others.
func testKeptContract(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	cb, _ := b.keeps(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("a contract session took the frame: got code %d, want 200", code)
	}
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))
	cb.wantAfterNews(t, keptEntry(`"1"`, a, `"hello"`, a, 1, ""))
	b.tunnel.close(t)
	// With only sessions with keep=1 the answer comes with the acknowledgement.
	a.tunnel.send(t, dialogue(`"1"`, b.id, `"p"`))
	cb.wantAfterNews(t, keptEntry(`"1"`, a, `"p"`, a, 2, ""))
	cb.send(t, `{"got":2,"with":"`+a.id+`"}`)
	a.tunnel.want(t, replyFrame(`"1"`, 200))
	cb.send(t, dialogue(`"x"`, a.id, `"q"`))
	cb.wantAfterNews(t, keptAnswer(`"x"`, 3))
	a.tunnel.want(t, dialogueFrame(`"x"`, b.id, `"q"`))
	cb.wantAfterNews(t, keptNews(303, a, 3, ""))
	cb.send(t, `{"read":2,"with":"`+a.id+`"}`)
	cb.send(t, `{"typing":true,"with":"`+a.id+`"}`)
	a.tunnel.wantQuiet(t)
	cb.close(t)
	eventually(t, "508", func() bool { return a.talk(t, b, "off") == 508 })
	if code := a.talk(t, b, "last"); code != 508 {
		t.Errorf("dialogue to a friend who is offline: got code %d, want 508", code)
	}
	_, login := b.keeps(t)
	if got := talksOf(t, login); strings.Contains(got, `"id":"last"`) {
		t.Errorf("a dialogue answered 508 is kept: %s", got)
	}
}

func testKeptOffline(t *testing.T, w *world) {
	a, b, ca, cb := newKeepers(t, w)
	cb.close(t)
	const many = 120
	for i := 1; i <= many; i++ {
		ca.send(t, dialogue(fmt.Sprintf(`"%d"`, i), b.id, fmt.Sprintf(`"p %d"`, i)))
		ca.wantKept(t, keptAnswer(fmt.Sprintf(`"%d"`, i), i))
	}
	// A contract session gets them after the login's answer, which counts as delivered, once.
	b.login(t)
	for i := 1; i <= many; i++ {
		b.tunnel.want(t, dialogueFrame(fmt.Sprintf(`"%d"`, i), a.id, fmt.Sprintf(`"p %d"`, i)))
	}
	delivered := 0
	for delivered < many {
		frame := ca.nextOf(t)
		var news struct{ Code, N int }
		if err := json.Unmarshal([]byte(frame), &news); err != nil || news.Code != 303 || news.Code == 303 && news.N <= delivered {
			t.Fatalf("after %d delivered dialogues: %s", delivered, frame)
		}
		delivered = max(delivered, news.N)
	}
	b.wantTalks(t, fmt.Sprintf(`[{"with":"%s","last":%d,"got":%d,"read":0,"peerGot":0,"peerRead":0,"entry":%s}]`, a.id, many, many,
		keptEntry(fmt.Sprintf(`"%d"`, many), a, fmt.Sprintf(`"p %d"`, many), a, many, "")))
	again, _ := b.openTunnel(t)
	again.wantQuiet(t)
	b.tunnel.wantQuiet(t)
}

// testKeptAgain checks that a dialogue that is sent again is answered as the first time, on any server, and not shown.
func testKeptAgain(t *testing.T, w *world) {
	a, b, ca, cb := newKeepers(t, w)
	send := func(c *tunnel, id, payload string) string {
		t.Helper()
		c.send(t, dialogue(id, b.id, payload))
		return c.nextOf(t)
	}
	first := send(ca, `"1"`, `"first"`)
	second := send(ca, `"2"`, `"second"`)
	cb.wantKept(t, keptEntry(`"1"`, a, `"first"`, a, 1, ""), keptEntry(`"2"`, a, `"second"`, a, 2, ""))
	for range 3 {
		if got := send(ca, `"1"`, `"another text"`); got != first {
			t.Errorf("sent again:\n got %s\nwant %s", got, first)
		}
	}
	ca.close(t)
	ca, _ = a.onNextServer().keeps(t)
	if got := send(ca, `"2"`, `"second"`); got != second {
		t.Errorf("sent again by another session:\n got %s\nwant %s", got, second)
	}
	// The friend's ids are its own.
	cb.send(t, dialogue(`"1"`, a.id, `"p"`))
	cb.wantKept(t, keptAnswer(`"1"`, 3))
	ca.wantKept(t, keptEntry(`"1"`, b, `"p"`, b, 3, ""))
	cb.wantQuiet(t)
}

func testKeptFields(t *testing.T, w *world) {
	a, b, ca, cb := newKeepers(t, w)
	plain, _ := b.openTunnel(t)
	n := 0
	say := func(fields, payload, shown string, seen bool) {
		t.Helper()
		n++
		id := fmt.Sprintf(`"%d"`, n)
		ca.send(t, `{"id":`+id+`,"toFriend":"`+b.id+`"`+payload+fields+`}`)
		cb.wantKept(t, keptEntry(id, a, shown, a, n, fields))
		if !seen {
			ca.wantKept(t, keptAnswer(id, n))
			return
		}
		plain.want(t, dialogueFrame(id, a.id, shown))
		ca.wantBoth(t, keptAnswer(id, n), keptNews(303, b, n, ""))
	}
	say(``, `,"payload":"one"`, `"one"`, true)
	say(`,"re":1`, `,"payload":"reply"`, `"reply"`, true)
	say(`,"reacts":1`, `,"payload":"👍"`, `"👍"`, true)
	say(`,"edits":1`, `,"payload":"uno"`, `"uno"`, true)
	say(`,"deletes":2`, ``, `""`, false)
	cb.send(t, `{"id":"x","toFriend":"`+a.id+`","payload":"p","edits":1}`)
	cb.wantKept(t, replyFrame(`"x"`, 403)) // not its own
	for _, field := range []string{`"payload":"p","edits":2`, `"payload":"p","re":99`} {
		ca.send(t, `{"id":"y","toFriend":"`+b.id+`",`+field+`}`)
		for got := ca.nextOf(t); got != replyFrame(`"y"`, 403); got = ca.nextOf(t) { // 303 for the deletion may come before
			if got != keptNews(303, b, 5, "") {
				t.Fatalf("%s: %s", field, got)
			}
		}
	}
	want := []string{
		keptEntry(`"1"`, a, `"uno"`, a, 1, `,"edited":true`), keptEntry(`"2"`, a, `""`, a, 2, `,"re":1,"deleted":true`), keptEntry(`"3"`, a, `"👍"`, a, 3, `,"reacts":1`),
		keptEntry(`"4"`, a, `"uno"`, a, 4, `,"edits":1`), keptEntry(`"5"`, a, `""`, a, 5, `,"deletes":2`),
	}
	b.history(t, a, 1, 5, want)
}

// history checks the newest dialogues of a conversation. pairs are further parameters of the call.
func (p *member) history(t testing.TB, with *member, first, last int, want []string, pairs ...string) {
	t.Helper()
	r := p.w.do(t, p.n, http.MethodGet, "/im/dialogues?"+query(append([]string{"id", p.id, "token", p.token, "with", with.id}, pairs...)...), "")
	list := "null"
	if want != nil {
		list = "[" + strings.Join(want, ",") + "]"
	}
	r.body = serverTime.ReplaceAllString(r.body, anyTime)
	r.want(t, fmt.Sprint("history ", pairs), fmt.Sprintf(`{"code":200,"dialogues":%s,"first":%d,"last":%d,"message":"Success","ok":true}`, list, first, last))
}

func testKeptHistory(t *testing.T, w *world) {
	a, b, ca, _ := newKeepers(t, w)
	a.history(t, b, 0, 0, nil)
	var all []string // as b sees them
	for i := 1; i <= 60; i++ {
		id := fmt.Sprintf(`"%d"`, i)
		ca.send(t, dialogue(id, b.id, `"p"`))
		all = append(all, keptEntry(id, a, `"p"`, a, i, ""))
	}
	for i := 1; i <= 60; i++ {
		ca.wantKept(t, keptAnswer(fmt.Sprintf(`"%d"`, i), i))
	}
	b.history(t, a, 1, 60, all[10:])
	b.history(t, a, 1, 60, all[57:], "limit", "3")
	b.history(t, a, 1, 60, all[6:9], "limit", "3", "before", "10")
	b.history(t, a, 1, 60, all[10:13], "limit", "3", "after", "10")
	b.history(t, a, 1, 60, all, "limit", "200", "after", "0")
	b.history(t, a, 1, 60, nil, "after", "60")
	b.history(t, a, 1, 60, nil, "before", "1")
	// A user who is no friend any more may still be read.
	b.call(t, "remove", "to", a.id).want(t, "remove", replyBody(200))
	b.history(t, a, 1, 60, all[57:], "limit", "3")
}

func testKeptForget(t *testing.T, w *world) {
	a, b, ca, cb := newKeepers(t, w)
	forget := func(p, with *member) {
		t.Helper()
		w.do(t, p.n, http.MethodPost, "/im/dialogues/remove", `{"id":"`+p.id+`","token":"`+p.token+`","with":"`+with.id+`"}`).want(t, "forget", replyBody(200))
	}
	say := func(n int) {
		t.Helper()
		id := fmt.Sprintf(`"%d"`, n)
		ca.send(t, dialogue(id, b.id, `"p"`))
		ca.wantKept(t, keptAnswer(id, n))
		cb.wantKept(t, keptEntry(id, a, `"p"`, a, n, ""))
	}
	say(1)
	say(2)
	forget(b, a)
	b.history(t, a, 0, 0, nil)
	a.history(t, b, 1, 2, []string{keptEntry(`"1"`, a, `"p"`, b, 1, ""), keptEntry(`"2"`, a, `"p"`, b, 2, "")})
	say(3)
	b.history(t, a, 3, 3, []string{keptEntry(`"3"`, a, `"p"`, a, 3, "")})
	forget(b, a)
	forget(a, b)
	a.history(t, b, 0, 0, nil)
	say(4) // numbers go on
	a.history(t, b, 4, 4, []string{keptEntry(`"4"`, a, `"p"`, b, 4, "")})
}

// testKeptBlocked checks that a blocked sender does not learn of it, and that the user who blocks gets nothing.
func testKeptBlocked(t *testing.T, w *world) {
	a, b, ca, cb := newKeepers(t, w)
	ca.send(t, dialogue(`"1"`, b.id, `"before"`))
	ca.wantKept(t, keptAnswer(`"1"`, 1))
	cb.wantKept(t, keptEntry(`"1"`, a, `"before"`, a, 1, ""))
	b.call(t, "block", "to", a.id).want(t, "block", replyBody(200))
	ca.send(t, dialogue(`"2"`, b.id, `"blocked"`))
	ca.wantKept(t, keptAnswer(`"2"`, 2))
	cb.send(t, `{"read":1,"with":"`+a.id+`"}`) // not shown to the sender
	cb.send(t, dialogue(`"3"`, a.id, `"p"`))
	cb.wantKept(t, replyFrame(`"3"`, 512))
	cb.wantQuiet(t)
	ca.wantQuiet(t)
	b.history(t, a, 1, 2, []string{keptEntry(`"1"`, a, `"before"`, a, 1, ""), keptEntry(`""`, a, `""`, a, 2, `,"deleted":true`)})
	a.history(t, b, 1, 2, []string{keptEntry(`"1"`, a, `"before"`, b, 1, ""), keptEntry(`"2"`, a, `"blocked"`, b, 2, "")})
	eventually(t, "logins show that the first dialogue was read", func() bool {
		c, login := b.keeps(t)
		c.close(t)
		return strings.Contains(talksOf(t, login), `"read":1,`)
	})
	// A login on another node may come before the session before has written how far b has come.
	plain, _ := b.openTunnel(t)
	plain.send(t, `{"id":"quiet"}`)
	got := plain.next(t)
	if got == dialogueFrame(`"1"`, a.id, `"before"`) {
		got = plain.next(t)
	}
	if got != replyFrame(`"quiet"`, 510) {
		t.Errorf("a session without keep: got %s", got)
	}
}

// TestNotKept checks that a server that keeps nothing answers keep=1 as push=1.
func TestNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Dialogues.Keep = 0 }))
	a, b := w.newFriends(t)
	ca, login := a.keeps(t)
	if strings.Contains(login, `"talks"`) {
		t.Errorf("login: %s", login)
	}
	ca.send(t, dialogue(`"1"`, b.id, `"p"`))
	ca.wantKept(t, replyFrame(`"1"`, 200))
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"p"`))
	b.tunnel.close(t)
	ca.send(t, dialogue(`"2"`, b.id, `"p"`))
	ca.wantKept(t, replyFrame(`"2"`, 508))
	cb, _ := b.keeps(t)
	cb.wantQuiet(t)
	cb.send(t, `{"id":"x","ping":"\u0078"}`)
	cb.wantKept(t, `{"code":200,"message":"Success","ok":true,"pong":"\u0078"}`)
	cb.send(t, `{"ping":1}`)
	cb.wantKept(t, replyBody(510))
}

// TestNoReceipts checks that dialogues.receipts: false keeps 304 and 305 from friends, and only from them.
func TestNoReceipts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Dialogues.Receipts = false }))
	a, b, ca, cb := newKeepers(t, w)
	b2, _ := b.keeps(t)
	ca.send(t, dialogue(`"1"`, b.id, `"p"`))
	ca.wantKept(t, keptAnswer(`"1"`, 1))
	for _, c := range []*tunnel{cb, b2} {
		c.wantKept(t, keptEntry(`"1"`, a, `"p"`, a, 1, ""))
	}
	cb.send(t, `{"typing":true,"with":"`+a.id+`"}`)
	cb.send(t, `{"read":1,"with":"`+a.id+`"}`)
	b2.wantKept(t, keptNews(304, a, 1, `,"own":true`))
	ca.wantKept(t, keptNews(303, b, 1, ""))
	ca.wantQuiet(t)
	_, login := a.keeps(t)
	if got := talksOf(t, login); !strings.Contains(got, `"peerGot":1,"peerRead":0,`) {
		t.Errorf("conversations: %s", got)
	}
}

// TestKeptNotAcknowledged checks that a contract session's dialogue is refused after the timeout if only sessions with
// keep=1 are online and none acknowledges it.
func TestKeptNotAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Dialogues.Timeout = 300 * time.Millisecond }))
	a, b := w.newFriends(t)
	b.tunnel.close(t)
	cb, _ := b.keeps(t)
	a.tunnel.send(t, dialogue(`"1"`, b.id, `"p"`))
	a.tunnel.want(t, replyFrame(`"1"`, 507))
	cb.wantKept(t, keptEntry(`"1"`, a, `"p"`, a, 1, ""))
}
