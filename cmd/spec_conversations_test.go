package cmd

import (
	"strings"
	"testing"

	"imctl/kv"
)

// conversations returns the calls for kept conversations.
func (a *openAPI) conversations(me, friend *member) (all []exchange) {
	never := strings.Repeat("0", 32)
	row := func(code int, pairs ...string) {
		auth := []string{"id", me.id, "token", me.token}
		all = append(all, exchange{path: "/im/dialogues?" + query(append(auth, pairs...)...), code: code})
	}
	row(200, "with", friend.id)
	row(200, "with", friend.id, "before", "17", "limit", "200")
	row(200, "with", friend.id, "after", "0")
	row(200, "with", never)
	row(200, "with", "nobody")
	row(403, "with", friend.id, "before", "-1")
	row(403, "with", friend.id, "after", "x")
	row(403, "with", friend.id, "limit", "0")
	row(403, "with", friend.id, "limit", "201")
	row(403, "with", "a\x00b")
	row(519)
	row(519, "with", " ")
	all = append(all, exchange{path: "/im/dialogues?" + query("id", me.id, "token", me.token, "with", friend.id, "before", "1", "after", "1"), code: 403, beyond: true},
		exchange{path: "/im/dialogues?" + query("id", me.id, "with", friend.id), code: 514},
		exchange{path: "/im/dialogues?" + query("token", me.token, "with", friend.id), code: 517},
		exchange{path: "/im/dialogues?" + query("id", me.id, "token", never, "with", friend.id), code: 515})
	for _, forget := range []struct {
		body string
		code int
	}{
		{fields("id", me.id, "token", me.token, "with", friend.id), 200}, {fields("id", me.id, "token", me.token, "with", never), 200},
		{fields("id", me.id, "token", me.token, "with", "a\x00b"), 403}, {fields("id", me.id, "token", me.token), 519},
		{fields("id", me.id, "with", friend.id), 514}, {fields("token", me.token, "with", friend.id), 517}, {fields("id", me.id, "token", never, "with", friend.id), 515},
	} {
		all = append(all, exchange{path: "/im/dialogues/remove", body: forget.body, code: forget.code})
	}
	for _, mark := range []struct {
		more string
		code int
	}{
		{`"with":"` + friend.id + `","pinned":true,"archived":"false","muted":null`, 200}, {`"with":"` + friend.id + `"`, 200}, {`"with":"` + never + `"`, 512},
		{`"with":"` + friend.id + `","pinned":1`, 403}, {`"with":"` + friend.id + `","muted":"yes"`, 403}, {`"pinned":true`, 519},
	} {
		all = append(all, exchange{path: "/im/dialogues/mark", body: `{"id":"` + me.id + `","token":"` + me.token + `",` + mark.more + `}`, code: mark.code})
	}
	all = append(all, exchange{path: "/im/dialogues/mark", body: fields("id", me.id, "with", friend.id), code: 514},
		exchange{path: "/im/dialogues/mark", body: fields("token", me.token, "with", friend.id), code: 517},
		exchange{path: "/im/dialogues/mark", body: fields("id", me.id, "token", never, "with", friend.id), code: 515},
		exchange{path: "/im/dialogues/mark", body: fields("id", me.id, "token", me.token, "with", friend.id, "more", strings.Repeat("A", 256<<10)), code: 403, status: 413})
	return append(all, exchange{path: "/im/dialogues/remove", body: fields("id", me.id, "token", me.token, "with", friend.id, "more", strings.Repeat("A", 256<<10)),
		code: 403, status: 413})
}

// kept exchanges the messages of kept conversations: two sessions with keep=1, and then a NATS client.
func (a *asyncAPI) kept(t *testing.T) {
	w, s := newNATSWorld(t, startMailServer(t).configure, unlimited)
	root := s.attachment(t, "root", kv.RoleAdmin, "")
	w.secret(root.Password)
	me, friend := w.newFriends(t)
	watch, _ := me.openTunnel(t, "push", "1")
	friend.tunnel.close(t)
	a.hears(t, watch, "tell", "friendOffline") // or a later tunnel might hear of it
	watch.close(t)
	me.tunnel.close(t)
	login := func(p *member) *tunnel {
		t.Helper()
		c := w.dial(t, 0, "/im/login?"+query("account", p.account, "password", p.password, "keep", "1"))
		w.secretOf(a.hears(t, c, "answerLogin", "welcome"))
		return c
	}
	mine := login(me)
	related := func(more string) string {
		return `{"id":"` + fresh("r") + `","toFriend":"` + friend.id + `",` + more + `}`
	}
	a.says(t, mine, dialogue(`"`+fresh("d")+`"`, friend.id, `"p"`), 202, false)
	theirs := login(friend)
	a.hears(t, mine, "tell", "friendOnline")
	for _, more := range []string{`"payload":"p","re":1`, `"payload":"+","reacts":1`, `"payload":"q","edits":1`, `"deletes":1`} {
		frame := related(more)
		a.saw(t, "takeDialogue", "sendRelated", []byte(frame))
		mine.send(t, frame)
		a.hears(t, mine, "takeDialogue/reply", "answer")
		a.hears(t, theirs, "deliver", "keptDialogue")
	}
	for _, row := range []struct{ message, frame, news string }{
		{"got", `{"got":5,"with":"` + me.id + `"}`, "delivered"}, {"read", `{"read":5,"with":"` + me.id + `"}`, "dialogueRead"},
		{"typing", `{"typing":true,"with":"` + me.id + `"}`, "friendTyping"},
	} {
		a.saw(t, "acknowledge", row.message, []byte(row.frame))
		theirs.send(t, row.frame)
		a.hears(t, mine, "tell", row.news)
	}
	a.saw(t, "heartbeat", "ping", []byte(`{"ping":"x"}`))
	theirs.send(t, `{"ping":"x"}`)
	a.hears(t, theirs, "heartbeat/reply", "pong")

	// A NATS client of me hears what its friend sends and reads.
	c := a.listen(t, s.asUser(t, me), me.id)
	frame := related(`"payload":"p","re":1`)
	a.saw(t, "takeDialogueByNATS", "sendRelated", []byte(frame))
	a.saw(t, "takeDialogueByNATS/reply", "answer", []byte(c.Ask(t, "im.send."+me.id, frame)))
	a.hears(t, theirs, "deliver", "keptDialogue")
	a.says(t, theirs, dialogue(`"`+fresh("d")+`"`, me.id, `"p"`), 202, false)
	theirs.send(t, `{"read":6,"with":"`+me.id+`"}`)
	for _, message := range []string{"keptDialogue", "delivered", "dialogueRead"} {
		eventually(t, message, func() bool { return c.has(message) })
	}
	eventually(t, "friendTyping", func() bool {
		theirs.send(t, `{"typing":true,"with":"`+me.id+`"}`) // the server shows one a second
		return c.has("friendTyping")
	})
	with := `"with":"` + friend.id + `"`
	for _, row := range []struct {
		name, body string
		code       int
	}{
		{"talks", `{}`, 200}, {"talks", `[]`, 403},
		{"dialogues", `{` + with + `,"after":0,"limit":"2"}`, 200}, {"dialogues", `{` + with + `,"before":-1}`, 403}, {"dialogues", `{}`, 519},
		{"got", `{` + with + `,"got":7}`, 200}, {"got", `{` + with + `,"got":0}`, 403}, {"got", `{"got":7}`, 519},
		{"read", `{` + with + `,"read":"7"}`, 200}, {"read", `{` + with + `}`, 403}, {"read", `{"read":7}`, 519},
		{"mark", `{` + with + `,"muted":true}`, 200}, {"mark", `{` + with + `,"muted":2}`, 403}, {"mark", `{}`, 519}, {"mark", `{"with":"` + strings.Repeat("0", 32) + `"}`, 512},
		{"forget", `{` + with + `}`, 200}, {"forget", `[]`, 403}, {"forget", `{}`, 519},
	} {
		a.calls(t, c.Client, me.id, row.name, row.body, row.code, false)
	}
	eventually(t, "marked", func() bool { return c.has("marked") })
	marked := mine.next(t)
	for (reply{body: marked}).code() != 306 {
		marked = mine.next(t)
	}
	a.saw(t, "tell", "marked", []byte(marked))
}
