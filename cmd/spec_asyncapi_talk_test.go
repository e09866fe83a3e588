package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

// newsNames maps the codes of notices to the messages of the document.
var newsNames = map[int]string{300: "friendOffline", 301: "friendProfile", 302: "friendOnline", 520: "friendAsks", 524: "friendAdded", 525: "friendRemoved", 0: "echo",
	303: "delivered", 304: "dialogueRead", 305: "friendTyping", 306: "marked"}

// hears reads a frame and checks that it is this message.
func (a *asyncAPI) hears(t testing.TB, c *tunnel, operation, message string) string {
	t.Helper()
	frame := c.next(t)
	a.saw(t, operation, message, []byte(frame))
	return frame
}

// says sends a dialogue and reads its answer. The document allows the one unless it is refused as malformed, and has
// the other.
func (a *asyncAPI) says(t testing.TB, c *tunnel, frame string, code int, beyond bool) {
	t.Helper()
	a.allows(t, "takeDialogue", "send", frame, code, beyond)
	c.send(t, frame)
	if got := a.hears(t, c, "takeDialogue/reply", "answer"); (reply{body: got}).code() != code {
		t.Errorf("%s: %s, want %d", frame, got, code)
	}
}

func (a *asyncAPI) allows(t testing.TB, operation, message, body string, code int, beyond bool) {
	t.Helper()
	fits := beyond || !slices.Contains([]int{403, 506, 510, 511, 516, 519, 521}, code)
	if err := a.is(t, operation, message, []byte(body)); (err == nil) != fits {
		t.Errorf("%s, answered %d: %v", body, code, err)
	}
}

// sends returns frames that a user sends to a friend, with their documented answers.
func sends(friend, gone string) []struct {
	frame  string
	code   int
	beyond bool // a schema cannot tell what is wrong with it
} {
	return []struct {
		frame  string
		code   int
		beyond bool
	}{
		{dialogue(`"1"`, friend, `" \ud83d\ude42\u003c "`), 200, false}, {`{"more":[1],"id":"1","toFriend":" ` + friend + ` ","payload":"p"}`, 200, false},
		{dialogue(`"1"`, gone, `"p"`), 508, false}, {dialogue(`"1"`, "nobody", `"p"`), 512, false},
		{dialogue(`""`, friend, `"p"`), 506, false}, {`{"toFriend":"` + friend + `","payload":"p"}`, 506, false}, {dialogue(`" \u00a0\n"`, friend, `"p"`), 506, false},
		{dialogue(`"1"`, "", `"p"`), 510, false}, {`{"payload":"p"}`, 510, false}, {dialogue(`"1"`, `\u00a0`, `"p"`), 510, false},
		{dialogue(`"1"`, friend, `""`), 511, false}, {dialogue(`""`, friend, `null`), 511, false},
		{`x`, 403, false}, {`[]`, 403, false}, {dialogue(`7`, friend, `"p"`), 403, false}, {dialogue(`"1"`, friend, `7`), 403, false}, {`{"payload":"p","payload":"p","id":"1","toFriend":"` + friend + `"}`, 403, true},
	}
}

func (a *asyncAPI) onTheTunnel(t *testing.T) {
	w := newWorld(t, start(t, func(c *Config) { c.Sessions.PerUser = 3 }))
	three := w.newMembers(t, 3)
	me, friend, gone := three[0], three[1], three[2]
	me.befriend(t, gone)
	watch, _ := me.openTunnel(t, "push", "1")
	gone.tunnel.close(t)
	a.hears(t, watch, "tell", "friendOffline") // or a later tunnel might hear of it
	watch.close(t)
	me.tunnel.close(t)
	for q, code := range map[string]int{
		query("account", me.account, "password", me.password, "id", me.id, "token", me.token): 403, query("account", me.account, "password", "wrong"): 505,
		query("id", me.id): 514, query("id", me.id, "token", friend.token): 515, query("token", me.token): 517,
	} {
		c := w.dial(t, 0, "/im/login?"+q)
		if frame := a.hears(t, c, "answerLogin", "refusal"); frame != replyBody(code) {
			t.Errorf("login %s: %s", q, frame)
		}
	}
	login := func(p *member) *tunnel {
		t.Helper()
		c := w.dial(t, 0, "/im/login?"+query("account", p.account, "password", p.password, "push", "1"))
		w.secretOf(a.hears(t, c, "answerLogin", "welcome"))
		return c
	}
	// Notices of all kinds: requests, new friends, presence, profiles and removals.
	mine, theirs := login(me), login(friend)
	me.call(t, "request", "to", friend.id, "note", "hi").want(t, "request", replyBody(200))
	a.hears(t, theirs, "tell", "friendAsks")
	login(friend).close(t) // with a request in its list
	friend.call(t, "add", "from", me.id, "name", "alias").want(t, "add", replyBody(200))
	a.hears(t, theirs, "tell", "friendAdded")
	a.hears(t, mine, "tell", "friendAdded")
	me.update(t, `"sign":"new"`).want(t, "update", replyBody(200))
	a.hears(t, theirs, "tell", "friendProfile")
	friend.tunnel.close(t)
	for _, row := range sends(friend.id, gone.id) {
		a.says(t, mine, row.frame, row.code, row.beyond)
		if row.code == 200 {
			a.hears(t, theirs, "deliver", "dialogue")
		}
	}
	theirs.close(t)
	a.hears(t, mine, "tell", "friendOffline")
	theirs = login(friend)
	a.hears(t, mine, "tell", "friendOnline")
	second := login(friend)
	theirs.send(t, dialogue(`"e"`, me.id, `"p"`))
	a.hears(t, theirs, "takeDialogue/reply", "answer")
	a.hears(t, second, "deliver", "echo")
	a.hears(t, mine, "deliver", "dialogue")
	third := login(friend)
	login(friend)
	a.hears(t, theirs, "endSession", "goodbye")
	friend.call(t, "remove", "to", me.id).want(t, "remove", replyBody(200))
	a.hears(t, mine, "tell", "friendRemoved")
	a.hears(t, third, "tell", "friendRemoved")
	if err := mine.ws.WriteMessage(websocket.BinaryMessage, []byte("x")); err != nil {
		t.Fatal(err)
	}
	a.hears(t, mine, "endSession", "goodbye")
}

// client is a NATS client of a user. It answers dialogues with a configured answer.
type client struct {
	*bridgetest.Client
	answer atomic.Pointer[string]

	mu    sync.Mutex // guards heard
	heard map[string]bool
}

func (c *client) has(message string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard[message]
}

// listen receives the user's dialogues and notices, and validates them against the document.
func (a *asyncAPI) listen(t *testing.T, nc *bridgetest.Client, id string) *client {
	t.Helper()
	c := &client{Client: nc, heard: make(map[string]bool)}
	c.answer.Store(new(string))
	note := func(operation, message string, body []byte) {
		a.saw(t, operation, message, body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.heard[message] = true
	}
	dialogues := func(m *nats.Msg) {
		message, answer := "dialogue", *c.answer.Load()
		if string(m.Data) == `{"id":"","from":"","payload":""}` {
			message = "question"
		} else if strings.Contains(string(m.Data), `,"n":`) {
			message = "keptDialogue"
		}
		note("deliverByNATS", message, m.Data)
		if answer != "" {
			a.saw(t, "deliverByNATS/reply", "taken", []byte(answer))
		}
		if err := m.Respond([]byte(answer)); err != nil {
			t.Error(err)
		}
	}
	notices := func(m *nats.Msg) { note("tellByNATS", newsNames[reply{body: string(m.Data)}.code()], m.Data) }
	for leaf, f := range map[string]nats.MsgHandler{"dialogue": dialogues, "notice": notices} {
		if _, err := nc.Subscribe("im.user."+id+"."+leaf, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(waitTimeout); err != nil {
		t.Fatal(err)
	}
	return c
}

// callNames maps the calls to the operations of the document.
var callNames = map[string]string{"found": "findPeople", "request": "askForFriendship", "add": "addFriend", "remove": "removeFriend", "profile": "updateProfile",
	"block": "blockUser", "unblock": "unblockUser", "blocked": "listBlocked", "report": "reportUser",
	"verify": "verifyMail", "mailcode": "sendMailCode", "info": "tellInfo", "sessions": "listSessions", "end": "endSessions", "delete": "deleteAccount",
	"people": "searchPeople", "person": "showPerson", "asked": "listAsked", "cancel": "cancelRequest",
	"talks": "listConversations", "dialogues": "readHistory", "forget": "forgetConversation", "mark": "markConversation", "got": "acknowledgeByNATS", "read": "readByNATS"}

// calls makes a call through NATS and validates the request and the answer against the document.
func (a *asyncAPI) calls(t testing.TB, c *bridgetest.Client, id, name, body string, code int, beyond bool) {
	t.Helper()
	a.allows(t, callNames[name], name+"Call", body, code, beyond)
	got := c.Ask(t, "im.call."+id+"."+name, body)
	a.saw(t, callNames[name]+"/reply", name+"Answer", []byte(got))
	if (reply{body: got}).code() != code {
		t.Errorf("%s %s: %s, want %d", name, body, got, code)
	}
}

func (a *asyncAPI) onNATS(t *testing.T) {
	mailServer := startMailServer(t)
	w, s := newNATSWorld(t, mailServer.configure, unlimited)
	archive := s.attachment(t, "archive", kv.RoleConsumer, "")
	admin := s.attachment(t, "root", kv.RoleAdmin, "")
	w.secret(archive.Password)
	w.secret(admin.Password)
	three := w.newMembers(t, 3)
	bot, person, gone := three[0], three[1], three[2]
	bot.befriend(t, person)
	bot.befriend(t, gone)
	gone.tunnel.close(t)
	eventually(t, "508", func() bool { return bot.talk(t, gone, "x") == 508 })
	bot.tunnel.close(t)
	eventually(t, "508", func() bool { return person.talk(t, bot, "x") == 508 })
	c := a.listen(t, s.asUser(t, bot), bot.id)

	for i, row := range sends(person.id, gone.id) { // the answers of a server that keeps nothing: see withoutConversations
		a.allows(t, "takeDialogueByNATS", "send", row.frame, row.code, row.beyond)
		answer := c.Ask(t, "im.send."+bot.id, row.frame)
		a.saw(t, "takeDialogueByNATS/reply", "answer", []byte(answer))
		if row.code == 200 || row.code == 508 {
			row.code = 202 // it is kept
		}
		if got := (reply{body: answer}).code(); got != row.code {
			t.Errorf("%s: %s, want %d", row.frame, answer, row.code)
		}
		if i == 0 { // the second one has the id of the first
			a.hears(t, person.tunnel, "deliver", "dialogue")
		}
	}
	for answer, code := range map[string]int{``: 200, `{"code":200}`: 200, `{"code":512}`: 512} {
		c.answer.Store(&answer)
		a.says(t, person.tunnel, dialogue(`"1"`, bot.id, `"p"`), code, false)
	}
	// A refusal counts only after other nodes had time to accept, so the two requests run concurrently.
	refusal := `{"code":507}`
	c.answer.Store(&refusal)
	other := w.newMembers(t, 1)[0]
	other.tunnel.close(t)
	person.befriend(t, other)
	a.listen(t, s.asUser(t, other), other.id).answer.Store(&refusal)
	nc := s.asUser(t, person)
	var both sync.WaitGroup
	both.Go(func() { a.says(t, person.tunnel, dialogue(`"1"`, bot.id, `"p"`), 507, false) })
	both.Go(func() {
		a.saw(t, "takeDialogueByNATS/reply", "answer", []byte(nc.Ask(t, "im.send."+person.id, dialogue(`"1"`, other.id, `"p"`))))
	})
	both.Wait()
	c.answer.Store(new(string))

	a.everyCall(t, w, c.Client, bot, person)
	a.calls(t, c.Client, bot.id, "verify", jsonOf(map[string]string{"code": bot.mailedCode(t, mailServer, bot.address(t), 2)}), 200, false)
	leaves := w.newMembers(t, 1)[0]
	ending := s.asUser(t, leaves)
	a.calls(t, ending, leaves.id, "end", `{}`, 200, false)
	ending.WantClosed(t, "its sessions have ended") // or the next connection would be closed, too
	a.calls(t, s.asUser(t, leaves), leaves.id, "delete", jsonOf(map[string]string{"password": leaves.password}), 200, false)
	person.update(t, `"sign":"new"`).want(t, "update", replyBody(200))
	person.tunnel.close(t)
	eventually(t, "300", func() bool { return c.has("friendOffline") })
	person.login(t)
	stranger := w.newMembers(t, 1)[0]
	stranger.call(t, "request", "to", bot.id).want(t, "request", replyBody(200))
	stranger.call(t, "remove", "to", bot.id).want(t, "withdraw", replyBody(512))
	for code, message := range newsNames {
		if 303 <= code && code <= 306 {
			continue // of kept conversations
		}
		eventually(t, message, func() bool { return c.has(message) })
	}
	a.roles(t, w, s, person)
	a.gateways(t, w, s, person, true)
	a.administered(t, w, s, admin, stranger)
	a.reads(t, s.asAttachment(t, archive))
}

// withoutConversations exchanges dialogues of a NATS client with a server that keeps no conversations.
func (a *asyncAPI) withoutConversations(t *testing.T) {
	w, s := newNATSWorld(t, unlimited, func(c *Config) { c.Dialogues.Keep = 0 })
	three := w.newMembers(t, 3)
	bot, person, gone := three[0], three[1], three[2]
	bot.befriend(t, person)
	bot.befriend(t, gone)
	gone.tunnel.close(t)
	eventually(t, "508", func() bool { return bot.talk(t, gone, "x") == 508 })
	bot.tunnel.close(t)
	eventually(t, "508", func() bool { return person.talk(t, bot, "x") == 508 })
	c := a.listen(t, s.asUser(t, bot), bot.id)
	for _, row := range sends(person.id, gone.id) {
		a.allows(t, "takeDialogueByNATS", "send", row.frame, row.code, row.beyond)
		answer := c.Ask(t, "im.send."+bot.id, row.frame)
		a.saw(t, "takeDialogueByNATS/reply", "answer", []byte(answer))
		if got := (reply{body: answer}).code(); got != row.code {
			t.Errorf("%s: %s, want %d", row.frame, answer, row.code)
		}
		if row.code == 200 {
			a.hears(t, person.tunnel, "deliver", "dialogue")
		}
	}
	refusal := `{"code":507}`
	c.answer.Store(&refusal)
	a.saw(t, "takeDialogueByNATS/reply", "answer", []byte(s.asUser(t, person).Ask(t, "im.send."+person.id, dialogue(`"1"`, bot.id, `"p"`))))
	a.gateways(t, w, s, person, false)
	a.hears(t, person.tunnel, "deliver", "dialogue") // of the gateway's user
	a.moderated(t, w, s, person, bot)
}

// moderated exchanges the messages of hooks.
func (a *asyncAPI) moderated(t *testing.T, w *world, s *server, person, other *member) {
	c := s.asAttachment(t, s.attachment(t, "filter", kv.RoleModerator, ""))
	for on, hook := range map[string]struct{ operation, message, verdict string }{
		"im.hook.dialogue.*.*": {"askDialogue", "hookDialogue", `{"action":"refuse","code":511}`},
		"im.hook.register":     {"askRegister", "hookRegister", `{"action":"pass"}`},
		"im.hook.request.*.*":  {"askRequest", "hookRequest", `{"action":"replace","payload":"Good day"}`},
	} {
		a.saw(t, hook.operation+"/reply", "verdict", []byte(hook.verdict))
		if _, err := c.QueueSubscribe(on, "moderators", func(m *nats.Msg) {
			a.saw(t, hook.operation, hook.message, m.Data)
			if err := m.Respond([]byte(hook.verdict)); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := person.talk(t, other, "moderated"); got != 511 {
		t.Errorf("a refused dialogue: %d", got)
	}
	person.call(t, "request", "to", w.newMembers(t, 1)[0].id, "note", "hi").want(t, "request", replyBody(200))
}

// everyCall makes each call with each documented answer, except those of a failing server.
func (a *asyncAPI) everyCall(t *testing.T, w *world, c *bridgetest.Client, bot, person *member) {
	nobody, long := strings.Repeat("0", 32), strings.Repeat("x", 65)
	asks := w.newMembers(t, 1)[0]
	asks.call(t, "request", "to", bot.id, "note", "hi").want(t, "request", replyBody(200))
	w.secret("a new password")
	for _, row := range []struct {
		name, body string
		code       int
	}{
		{"found", `{"name":"Somebody"}`, 200}, {"found", `{"name":"` + fresh("nobody") + `","id":"skipped"}`, 200}, {"found", `{}`, 516}, {"found", `{"name":" "}`, 516},
		{"found", `{"name":"` + long + `"}`, 403}, {"found", `[]`, 403},
		{"request", `{"to":"` + person.id + `"}`, 522}, {"request", `{"to":"` + nobody + `","note":null}`, 523}, {"request", `{"note":"x"}`, 519}, {"request", `{"to":"a\nb"}`, 403},
		{"request", `{"to":"` + nobody + `","note":"a\u0000"}`, 403},
		{"add", `{"from":"` + asks.id + `"}`, 521}, {"add", `{"name":"x"}`, 519}, {"add", `{"from":"` + nobody + `","name":"x"}`, 523}, {"add", `{"from":"` + nobody + `","name":"` + long + `"}`, 403},
		{"add", `{"from":"` + asks.id + `","name":"x"}`, 200}, {"add", `{"from":"` + asks.id + `","name":"x"}`, 522},
		{"remove", `{"to":"` + asks.id + `"}`, 200}, {"remove", `{"to":"` + asks.id + `"}`, 512}, {"remove", `{"to":""}`, 519}, {"remove", `{"to":1}`, 403},
		{"request", `{"to":"` + asks.id + `","note":"two\nlines"}`, 200},
		{"block", `{"to":"` + asks.id + `"}`, 200}, {"block", `{"to":"` + nobody + `"}`, 523}, {"block", `{}`, 519}, {"block", `{"to":1}`, 403},
		{"blocked", `{}`, 200}, {"blocked", `[]`, 403},
		{"unblock", `{"to":"` + asks.id + `"}`, 200}, {"unblock", `{"to":"nobody"}`, 523}, {"unblock", `{"to":" "}`, 519}, {"unblock", `{"to":1}`, 403},
		{"blocked", `{}`, 200},
		{"people", `{"q":"Somebody","limit":"7"}`, 200}, {"people", `{"q":"x","after":"0-9","limit":50}`, 200}, {"people", `{}`, 516}, {"people", `{"q":"x","limit":51}`, 403},
		{"person", `{"of":"` + asks.id + `"}`, 200}, {"person", `{"of":"` + nobody + `"}`, 523}, {"person", `{}`, 519}, {"person", `{"of":1}`, 403},
		{"request", `{"to":"` + asks.id + `"}`, 200}, {"asked", `{}`, 200}, {"cancel", `{"to":"` + asks.id + `"}`, 200}, {"asked", `{}`, 200}, {"asked", `[]`, 403},
		{"cancel", `{"to":"` + asks.id + `"}`, 523}, {"cancel", `{"to":"` + person.id + `"}`, 522}, {"cancel", `{}`, 519}, {"cancel", `{"to":1}`, 403},
		{"report", `{"user":"` + asks.id + `","text":"spam"}`, 200}, {"report", `{"user":"` + nobody + `"}`, 523}, {"report", `{"text":"spam"}`, 519},
		{"report", `{"user":"` + asks.id + `","text":"` + strings.Repeat("x", 1001) + `"}`, 403},
		{"profile", `{"sign":"new","name":"","mail":null}`, 200}, {"profile", `{"mail":""}`, 403}, {"profile", `{"password":""}`, 403}, {"profile", `{"sex":"` + long + `"}`, 403},
		{"profile", `{"password":"x"}`, 505}, {"verify", `{"code":"AAAA-BBBB"}`, 505}, {"verify", `{}`, 403}, {"mailcode", `{}`, 200}, {"mailcode", `[]`, 403},
		{"info", `{}`, 200}, {"info", `[]`, 403}, {"sessions", `{}`, 200}, {"sessions", `[]`, 403}, {"end", `{"session":""}`, 403}, {"delete", `{"password":"x"}`, 505}, {"delete", `{"password":1}`, 403},
	} {
		a.calls(t, c, bot.id, row.name, row.body, row.code, false)
	}
}

// administered checks the notices of administrative changes, and the answers to calls for a deleted account.
func (a *asyncAPI) administered(t *testing.T, w *world, s *server, as natsauth.Context, p *member) {
	p.update(t, `"password":"a new password"`).want(t, "password", replyBody(200))
	for _, do := range []func() error{
		func() error { return s.services().Accounts.SetDisabled(t.Context(), p.id, true) },
		func() error { return s.services().Accounts.SetDisabled(t.Context(), p.id, false) },
		func() error { return s.services().Accounts.Delete(t.Context(), p.id) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	// Only who may speak for others can still ask.
	as.InboxPrefix = subject.Inbox(p.id)
	nc := s.asAttachment(t, as)
	nobody := strings.Repeat("0", 32)
	for name, body := range map[string]string{"found": `{"name":"x"}`, "request": `{"to":"` + nobody + `"}`, "add": `{"from":"` + nobody + `","name":"x"}`, "remove": `{"to":"` + nobody + `"}`, "profile": `{}`,
		"block": `{"to":"` + nobody + `"}`, "unblock": `{"to":"` + nobody + `"}`, "blocked": `{}`, "report": `{"user":"` + nobody + `"}`,
		"people": `{"q":"x"}`, "person": `{"of":"` + nobody + `"}`, "asked": `{}`, "cancel": `{"to":"` + nobody + `"}`,
		"verify": `{"code":"x"}`, "mailcode": `{}`, "info": `{}`, "sessions": `{}`, "end": `{}`, "delete": `{}`,
		"talks": `{}`, "dialogues": `{"with":"` + nobody + `"}`, "forget": `{"with":"` + nobody + `"}`, "mark": `{"with":"` + nobody + `"}`, "got": `{"with":"` + nobody + `","got":1}`, "read": `{"with":"` + nobody + `","read":1}`} {
		a.calls(t, nc, p.id, name, body, 515, false)
	}
}

// reads reads the log and checks that it has entries of every kind.
func (a *asyncAPI) reads(t *testing.T, nc *bridgetest.Client) {
	missing := map[string]bool{"dialogue": true}
	for name := range a.object(t, "/channels") {
		_, address := a.at("/channels/" + name + "/address")
		_, words := a.at("/channels/" + name + "/parameters/what/enum")
		what, _ := words.([]any)
		for _, word := range what {
			missing[strings.Split(address.(string), ".")[2]+"."+fmt.Sprint(word)] = true
		}
	}
	if len(missing) < 14 {
		t.Errorf("kinds of entries: %v", missing)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	js, err := jetstream.New(nc.Conn)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(ctx, "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	for pending := uint64(1); len(missing) > 0 || pending > 0; {
		m, err := consumer.Next(jetstream.FetchContext(ctx))
		if err != nil {
			t.Fatalf("missing are %v: %v", missing, err)
		}
		if operation, message := a.channel(t, m.Subject()); operation != "" {
			a.saw(t, operation, message, m.Data())
		}
		at, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		pending = at.NumPending
		words := strings.Split(m.Subject(), ".")
		delete(missing, words[2])
		delete(missing, words[2]+"."+words[3])
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

// failing checks the answers while the records of users cannot be read.
func (a *asyncAPI) failing(t *testing.T) {
	w, s := newNATSWorld(t, startMailServer(t).configure)
	s.mayLog = []string{"call failed"}
	root := s.attachment(t, "root", kv.RoleAdmin, "")
	w.secret(root.Password)
	me, friend := w.newFriends(t)
	c := s.asUser(t, me)
	js, err := jetstream.New(s.asAttachment(t, root).Conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"$KV.im_users.user.", "$KV.im_friendships."} {
		if _, err := js.Publish(t.Context(), key+me.id, []byte("no JSON")); err != nil {
			t.Fatal(err)
		}
	}
	tunnel := w.dial(t, 0, "/im/login?"+query("id", me.id, "token", me.token))
	if frame := a.hears(t, tunnel, "answerLogin", "refusal"); frame != replyBody(500) {
		t.Errorf("login: %s", frame)
	}
	for name, body := range map[string]string{"found": `{"name":"x"}`, "request": `{"to":"` + friend.id + `"}`, "add": `{"from":"` + friend.id + `","name":"x"}`, "remove": `{"to":"` + friend.id + `"}`, "profile": `{}`,
		"block": `{"to":"` + friend.id + `"}`, "unblock": `{"to":"` + friend.id + `"}`, "blocked": `{}`, "report": `{"user":"` + friend.id + `"}`,
		"people": `{"q":"x"}`, "person": `{"of":"` + friend.id + `"}`, "asked": `{}`, "cancel": `{"to":"` + friend.id + `"}`,
		"verify": `{"code":"x"}`, "mailcode": `{}`, "info": `{}`, "sessions": `{}`, "end": `{}`, "delete": `{}`,
		"talks": `{}`, "dialogues": `{"with":"` + friend.id + `"}`, "forget": `{"with":"` + friend.id + `"}`, "mark": `{"with":"` + friend.id + `"}`, "got": `{"with":"` + friend.id + `","got":1}`, "read": `{"with":"` + friend.id + `","read":1}`} {
		a.calls(t, c, me.id, name, body, 500, false)
	}
	got := c.Ask(t, "im.send."+me.id, dialogue(`"1"`, friend.id, `"p"`))
	a.saw(t, "takeDialogueByNATS/reply", "answer", []byte(got))
	if got != replyFrame(`"1"`, 500) {
		t.Errorf("a dialogue: %s", got)
	}
}
