package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"imctl/bridge/cluster"
	names "imctl/bridge/subject"
)

// echoed is what the sender's other devices get of a dialogue.
func echoed(id string, from, to *member, payload string) string {
	return `{"id":` + id + `,"from":"` + from.id + `","toFriend":"` + to.id + `","payload":` + payload + `}`
}

// news is a frame of the protocol's family about somebody.
func news(code int, message string, about *member) string {
	return fmt.Sprintf(`{"code":%d,"message":"%s","ok":true,"id":"%s"}`, code, message, about.id)
}

// resume opens a tunnel by id and token.
func (p *member) resume(t testing.TB, token string, pairs ...string) *tunnel {
	t.Helper()
	return p.w.dial(t, p.n, "/im/login?"+query(append([]string{"id", p.id, "token", token}, pairs...)...))
}

func (p *member) logout(t testing.TB, token string) reply {
	t.Helper()
	return p.w.do(t, p.n, http.MethodPost, "/im/logout", `{"id":"`+p.id+`","token":"`+token+`"}`)
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

// testEcho: what one device sends and a friend takes, the others that asked for news are shown, on whatever server.
func testEcho(t *testing.T, w *world) {
	a, b := w.pair(t)
	gone := w.people(t, 1)[0]
	gone.tunnel.close(t)
	eventually(t, "gone before it has friends to tell", func() bool {
		open, err := w.services().Cluster.Sessions(t.Context(), cluster.ListSessions{User: gone.id})
		return len(open) == 0 && err == nil
	})
	a.befriend(t, gone)
	eventually(t, "508", func() bool { return a.talk(t, gone, "off") == 508 })
	here, _ := a.another(t, "push", "1")
	there, _ := a.elsewhere().another(t, "push", "1")
	silent, _ := a.another(t)
	sender, _ := a.another(t, "push", "1")
	const id, payload = `"7\u0041 \/"`, `" <b>\ud83d\ude42\u003c "`
	sender.send(t, dialogue(id, b.id, payload))
	b.tunnel.want(t, received(id, a.id, payload))
	sender.want(t, saysTo(id, 200))
	for _, c := range []*tunnel{here, there} {
		c.want(t, echoed(id, a, b, payload))
	}
	// In order, and nothing of what was refused.
	for n := range 20 {
		for to, code := range map[string]int{gone.id: 508, "nobody": 512, b.id: 200} {
			sender.send(t, dialogue(fmt.Sprint(`"`, n, `"`), to, `"x"`))
			sender.want(t, saysTo(fmt.Sprint(`"`, n, `"`), code))
		}
	}
	for n := range 20 {
		for _, c := range []*tunnel{here, there} {
			c.want(t, echoed(fmt.Sprint(`"`, n, `"`), a, b, `"x"`))
		}
		b.tunnel.want(t, received(fmt.Sprint(`"`, n, `"`), a.id, `"x"`))
	}
	// The sender and who did not ask for it have heard nothing: next is what a friend sends.
	if code := b.talk(t, a, "back"); code != 200 {
		t.Errorf("the friend's answer: %d", code)
	}
	for _, c := range []*tunnel{sender, silent, a.tunnel, here, there} {
		c.want(t, received(`"back"`, b.id, `"hello"`))
	}
}

// elsewhere is the same person at the next server, if there are several.
func (p *member) elsewhere() *member {
	return &member{w: p.w, n: p.n + 1, account: p.account, password: p.password, id: p.id, token: p.token}
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

// testResume: a young token is kept, and one past half of its life gives way to another.
func testResume(t *testing.T, w *world) {
	a, b := w.pair(t)
	for _, path := range []string{"/im/login?", "/im/login/im/login?"} {
		c := w.dial(t, a.n, path+query("id", " "+a.id+" ", "token", a.token, "push", "1"))
		var login loginAnswer
		if err := json.Unmarshal([]byte(c.next(t)), &login); err != nil || login.Code != 200 || login.Token != a.token || login.Profile.ID != a.id || len(login.Friends) != 1 {
			t.Fatalf("%+v, %v", login, err)
		}
		c.send(t, dialogue(`"1"`, b.id, `"x"`))
		c.want(t, saysTo(`"1"`, 200))
		c.close(t)
	}
}

func testResumeRefusals(t *testing.T, w *world) {
	two := w.people(t, 2)
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
		if got := c.next(t); got != says(row.want) {
			t.Errorf("%s: %s", what, got)
		}
		c.wantClose(t, websocket.ClosePolicyViolation)
	}
	// A disabled account's tokens are revoked, and it may not log in by its password either.
	if err := w.services().Accounts.SetDisabled(t.Context(), a.id, true); err != nil {
		t.Fatal(err)
	}
	a.tunnel.wantClose(t, websocket.ClosePolicyViolation)
	a.resume(t, a.token).want(t, says(515))
	w.dial(t, a.n, "/im/login?"+query("account", a.account, "password", a.password)).want(t, says(505))
	if err := w.services().Accounts.SetDisabled(t.Context(), a.id, false); err != nil {
		t.Fatal(err)
	}
	a.resume(t, a.token).want(t, says(515))
	a.login(t)
}

// testLogout: the token and the sessions that live by it end, and no others.
func testLogout(t *testing.T, w *world) {
	a, b := w.pair(t)
	watch, _ := b.another(t, "push", "1")
	other, login := a.another(t)
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
		w.do(t, a.n, http.MethodPost, "/im/logout", row.body).want(t, what, says(row.want))
	}
	w.do(t, a.n, http.MethodGet, "/im/logout?"+query("id", a.id, "token", a.token), "").want(t, "GET", says(403))
	a.logout(t, a.token).want(t, "logout", says(200))
	a.tunnel.wantClose(t, websocket.CloseNormalClosure)
	same.wantClose(t, websocket.CloseNormalClosure)
	a.logout(t, a.token).want(t, "logout again", says(515))
	a.resume(t, a.token).want(t, says(515))
	a.call(t, "found", "name", "x").want(t, "call", says(515))
	other.send(t, dialogue(`"1"`, b.id, `"x"`))
	other.want(t, saysTo(`"1"`, 200))
	watch.want(t, received(`"1"`, a.id, `"x"`)) // and no word of being offline before
	a.logout(t, login.Token).want(t, "the other's logout", says(200))
	other.wantClose(t, websocket.CloseNormalClosure)
	watch.want(t, news(300, "Friend Offline", a))
	a.login(t)
	watch.want(t, news(302, "Friend Online", a))
}

// testMailChanges: the address is nobody else's business, and the account stays whatever is sent.
func testMailChanges(t *testing.T, w *world) {
	a, b := w.pair(t)
	watch, _ := b.another(t, "push", "1")
	for _, fields := range []string{`"mail":""`, `"mail":" "`, `"mail":1`, `"mail":"a\nb"`, `"mail":"` + strings.Repeat("m", 255) + `"`, `"password":""`} {
		a.update(t, fields).want(t, fields, says(403))
	}
	a.update(t, `"mail":" new@example.org ","account":"other","disabled":true`).want(t, "mail", says(200))
	u, _, err := w.services().Accounts.Authorize(t.Context(), a.id, a.token)
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

// TestResumeRenews: past half of its life a token gives way to a new one, and stays good for its time.
func TestResumeRenews(t *testing.T) {
	t.Parallel()
	const life = 6 * time.Second
	w := inhabit(t, start(t, func(c *Config) { c.Tokens.TTL = life }))
	a := w.people(t, 1)[0]
	issued := time.Now()
	again := func() string {
		t.Helper()
		c := a.resume(t, a.token)
		defer c.close(t)
		var login loginAnswer
		if err := json.Unmarshal([]byte(c.next(t)), &login); err != nil {
			t.Fatal(err)
		}
		if login.Token != "" {
			w.secret(login.Token)
		}
		return login.Token
	}
	if got := again(); got != a.token && time.Since(issued) < life/3 {
		t.Error("a young token was replaced")
	}
	var renewed string
	eventually(t, "another token", func() bool { renewed = again(); return renewed != a.token })
	if age := time.Since(issued); age < life/3 {
		t.Errorf("replaced after %v of %v", age, life)
	}
	if renewed == "" {
		t.Fatal("the token expired before it was replaced")
	}
	if r := a.call(t, "found", "name", fresh("nobody")); r.code() != 200 && time.Since(issued) < life {
		t.Errorf("the old one: %s", r.body)
	}
	eventually(t, "515", func() bool { return again() == "" })
	a.token = renewed
	a.call(t, "found", "name", fresh("nobody")).want(t, "the new one", `{"code":200,"found":null,"message":"Success","ok":true}`)
}

// TestRehash: a login after the parameters of the hash were raised stores the password anew.
func TestRehash(t *testing.T) {
	t.Parallel()
	var data string
	first := start(t, func(c *Config) { data = c.Data })
	w := inhabit(t, first)
	a := w.people(t, 1)[0]
	a.update(t, `"password":"changed-by-user"`).want(t, "password", says(200))
	a.password = "changed-by-user"
	hash := func() string {
		t.Helper()
		u, _, err := w.services().Accounts.Authorize(t.Context(), a.id, a.token)
		if err != nil {
			t.Fatal(err)
		}
		return u.PasswordHash
	}
	if got := hash(); !strings.Contains(got, "$m=1024,t=1,") {
		t.Fatalf("the hash's parameters: %.40s", got)
	}
	a.tunnel.close(t)
	first.close(t)
	w.deployment = start(t, func(c *Config) { c.Data, c.Passwords.Passes = data, 3 })
	defer w.leave(t)
	a.login(t)
	eventually(t, "a hash by the new parameters", func() bool { return strings.Contains(hash(), "$m=1024,t=3,") })
	a.login(t)
	a.call(t, "found", "name", fresh("nobody")).want(t, "call", `{"code":200,"found":null,"message":"Success","ok":true}`)
}

// TestEchoAndNATSClients: a NATS client of the user's is one of its devices, whichever server let it in.
func TestEchoAndNATSClients(t *testing.T) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		s := start(t, natsDoor)
		testEchoByNATS(t, inhabit(t, s), s.natsURL())
	})
	t.Run("two servers", func(t *testing.T) {
		t.Parallel()
		there := startNATSThere(t)
		both := bridges{start(t, there.attached), start(t, there.attached)}
		w := inhabit(t, both)
		for range 3 { // either of them may be asked
			testEchoByNATS(t, w, firstGroup(there.url, `@(.+)$`))
		}
	})
}

func testEchoByNATS(t *testing.T, w *world, url string) {
	a, b := w.pair(t)
	if code := a.talk(t, b, "0"); code != 200 {
		t.Fatal(code)
	}
	nc, err := nats.Connect(url, nats.UserInfo(a.account, a.password), nats.CustomInboxPrefix(names.Inbox(a.id)), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	notices, err := nc.SubscribeSync("im.user." + a.id + ".notice")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	b.tunnel.want(t, received(`"0"`, a.id, `"hello"`))
	heard := func(want string) {
		t.Helper()
		m, err := notices.NextMsg(patience)
		if err != nil || string(m.Data) != want {
			t.Errorf("by NATS: %+v, %v", m, err)
		}
	}
	var first string // that it was heard of: the login does not wait until all servers know
	eventually(t, "an echo", func() bool {
		if code := a.talk(t, b, "1"); code != 200 {
			t.Fatal(code)
		}
		b.tunnel.want(t, received(`"1"`, a.id, `"hello"`))
		m, err := notices.NextMsg(10 * time.Millisecond)
		if err == nil {
			first = string(m.Data)
		}
		return err == nil
	})
	if want := echoed(`"1"`, a, b, `"hello"`); first != want {
		t.Errorf("by NATS: %s, want %s", first, want)
	}
	push, _ := a.elsewhere().another(t, "push", "1")
	if code := a.talk(t, b, "2"); code != 200 {
		t.Fatal(code)
	}
	b.tunnel.want(t, received(`"2"`, a.id, `"hello"`))
	for want := echoed(`"2"`, a, b, `"hello"`); ; { // a late one may come before it
		m, err := notices.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) == want {
			break
		}
	}
	push.want(t, echoed(`"2"`, a, b, `"hello"`))
	m, err := nc.Request("im.send."+a.id, []byte(dialogue(`"3"`, b.id, `"x"`)), patience)
	if err != nil || string(m.Data) != saysTo(`"3"`, 200) {
		t.Fatalf("%+v, %v", m, err)
	}
	b.tunnel.want(t, received(`"3"`, a.id, `"x"`))
	heard(echoed(`"3"`, a, b, `"x"`)) // its own too
	push.want(t, echoed(`"3"`, a, b, `"x"`))
	if code := b.talk(t, a, "4"); code != 200 {
		t.Fatal(code)
	}
	a.tunnel.want(t, received(`"4"`, b.id, `"hello"`)) // it asked for no news
}
