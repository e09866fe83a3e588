package cmd

import (
	"fmt"
	"strings"
	"testing"
)

// testDialogue checks that a dialogue arrives with the id of its sender, and that the answer has the id of the
// dialogue.
func testDialogue(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	for i := range 5 {
		id := fmt.Sprintf(`"%d"`, i)
		a.tunnel.send(t, dialogue(id, b.id, `"How are you ?"`))
		b.tunnel.want(t, dialogueFrame(id, a.id, `"How are you ?"`))
		a.tunnel.want(t, replyFrame(id, 200))
		b.tunnel.send(t, ` { "payload" : "Fine", "toFriend" : " `+a.id+` ", "more" : [{"id":1}], "id" : `+id+` } `)
		a.tunnel.want(t, dialogueFrame(id, b.id, `"Fine"`))
		b.tunnel.want(t, replyFrame(id, 200))
	}
	// Two dialogues may have the same id, which only the client uses.
	for range 2 {
		a.tunnel.send(t, dialogue(`"x"`, b.id, `"p"`))
		a.tunnel.want(t, replyFrame(`"x"`, 200))
		b.tunnel.want(t, dialogueFrame(`"x"`, a.id, `"p"`))
	}
}

// testDialogueRefusals checks all refusals in the order of the checks. Each answer has the id of the dialogue, if it is
// known, and the tunnel stays open.
func testDialogueRefusals(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	stranger := w.newMembers(t, 1)[0]
	never := strings.Repeat("0", 32)
	rows := []struct {
		what, frame, want string
	}{
		{"nothing", ``, replyBody(403)}, {"no JSON", `hello`, replyBody(403)}, {"half an object", `{"id":"1"`, replyBody(403)}, {"a list", `["1"]`, replyBody(403)},
		{"text", `"1"`, replyBody(403)}, {"null", `null`, replyBody(403)}, {"two objects", `{}{}`, replyBody(403)}, {"a comma too many", `{"id":"1",}`, replyBody(403)},
		{"a raw control character", "{\"id\":\"1\",\"toFriend\":\"" + b.id + "\",\"payload\":\"a\nb\"}", replyBody(403)},
		{"a bad escape", `{"id":"1","toFriend":"` + b.id + `","payload":"\x"}`, replyBody(403)},
		{"nested too deep", `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, replyBody(403)},
		{"id is a number", `{"id":1,"toFriend":"` + b.id + `","payload":"p"}`, replyBody(403)},
		{"toFriend is a number", `{"id":"1","toFriend":1,"payload":"p"}`, replyFrame(`"1"`, 403)},
		{"payload is an object", `{"id":"\u0031","toFriend":"` + b.id + `","payload":{"a":1}}`, replyFrame(`"\u0031"`, 403)},
		{"payload is true", `{"toFriend":"` + b.id + `","payload":true}`, replyBody(403)},
		{"toFriend twice", `{"id":"1","toFriend":"` + b.id + `","toFriend":"` + b.id + `","payload":"p"}`, replyFrame(`"1"`, 403)},
		{"id twice", `{"id":"1","id":"2","toFriend":"` + b.id + `","payload":"p"}`, replyBody(403)},
		{"malformed before empty", `{"id":"1","toFriend":"","payload":1}`, replyFrame(`"1"`, 403)},

		{"no field", `{}`, replyBody(510)}, {"no toFriend", `{"id":"1","payload":"p"}`, replyFrame(`"1"`, 510)}, {"toFriend is null", `{"id":"1","toFriend":null,"payload":"p"}`, replyFrame(`"1"`, 510)},
		{"toFriend is empty", `{"id":"1","toFriend":"","payload":"p"}`, replyFrame(`"1"`, 510)}, {"toFriend is blank", `{"id":"1","toFriend":" \t\u00a0","payload":"p"}`, replyFrame(`"1"`, 510)},
		{"toFriend in another case", `{"id":"1","tofriend":"` + b.id + `","payload":"p"}`, replyFrame(`"1"`, 510)}, {"toFriend before payload and id", `{"id":"","toFriend":"","payload":""}`, replyBody(510)},

		{"no payload", `{"id":"1","toFriend":"` + b.id + `"}`, replyFrame(`"1"`, 511)}, {"payload is null", `{"id":"1","toFriend":"` + b.id + `","payload":null}`, replyFrame(`"1"`, 511)},
		{"payload is empty", `{"id":"1","toFriend":"` + b.id + `","payload":""}`, replyFrame(`"1"`, 511)}, {"payload before friendship", `{"id":"1","toFriend":"` + stranger.id + `"}`, replyFrame(`"1"`, 511)},
		{"payload before id", `{"toFriend":"` + b.id + `"}`, replyBody(511)},

		{"a stranger", dialogue(`"1"`, stranger.id, `"p"`), replyFrame(`"1"`, 512)}, {"nobody", dialogue(`"1"`, never, `"p"`), replyFrame(`"1"`, 512)},
		{"oneself", dialogue(`"1"`, a.id, `"p"`), replyFrame(`"1"`, 512)}, {"no id at all", dialogue(`"1"`, "*", `"p"`), replyFrame(`"1"`, 512)}, {"a subject", dialogue(`"1"`, b.id+".dialogue", `"p"`), replyFrame(`"1"`, 512)},
		{"id in capitals", dialogue(`"1"`, strings.ToUpper(b.id)+"A", `"p"`), replyFrame(`"1"`, 512)},
		{"friendship before id", dialogue(`""`, stranger.id, `"p"`), replyBody(512)},

		{"no id", `{"toFriend":"` + b.id + `","payload":"p"}`, replyBody(506)}, {"id is null", dialogue(`null`, b.id, `"p"`), replyBody(506)}, {"id is empty", dialogue(`""`, b.id, `"p"`), replyBody(506)},
		{"id is blank", dialogue(`" \t\u3000"`, b.id, `"p"`), replyBody(506)}, {"ID", `{"ID":"1","toFriend":"` + b.id + `","payload":"p"}`, replyBody(506)},
	}
	for i, row := range rows {
		a.tunnel.send(t, row.frame)
		if got := a.tunnel.next(t); got != row.want {
			t.Errorf("%s: %s\n got %s\nwant %s", row.what, row.frame, got, row.want)
		}
		if i%10 == 0 {
			if code := a.talk(t, b, "still here"); code != 200 {
				t.Fatalf("%s: valid dialogue after it: got code %d, want 200", row.what, code)
			}
			b.tunnel.want(t, dialogueFrame(`"still here"`, a.id, `"hello"`))
		}
	}
	// None of the refused dialogues was delivered.
	if code := b.talk(t, a, "last"); code != 200 {
		t.Errorf("next frame of the friend: got code %d, want its own answer 200", code)
	}
	if code := stranger.talk(t, a, "last"); code != 512 {
		t.Errorf("next frame of the stranger: got code %d, want its own answer", code)
	}
}

// testDialogueBytes checks that ids and payloads are delivered byte for byte, whatever their JSON text.
func testDialogueBytes(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	for _, raw := range []string{
		`" "`, `"\u0020"`, `"  two  blanks  "`, `"\u0041\u00e9\uD83D\ude00"`, `"é😀日本語\u2028<script>&amp;</script>"`, "\"\u2028\u2029\u0085\ufeff\u200b\ufffd\"",
		`"\"\\\/\b\f\n\r\t"`, `"/\/"`, `"\u0000"`, `"\ud800"`, `"\udc00\ud800"`, `"e\u0301 é"`, `"{\"code\":200}"`, `"%s %d %%"`, "\"\x7f\"", `"'` + "`" + `"`,
		`"` + strings.Repeat("long é", 200) + `"`,
	} {
		a.tunnel.send(t, dialogue(`"1"`, b.id, raw))
		b.tunnel.want(t, dialogueFrame(`"1"`, a.id, raw))
		a.tunnel.want(t, replyFrame(`"1"`, 200))
		if strings.TrimSpace(strings.ReplaceAll(raw, `\u0020`, " ")[1:]) == `"` {
			continue // a blank id counts as missing
		}
		a.tunnel.send(t, dialogue(raw, b.id, `"p"`))
		b.tunnel.want(t, dialogueFrame(raw, a.id, `"p"`))
		a.tunnel.want(t, replyFrame(raw, 200))
	}
}

// testDialogueOffline checks that the answer is 508 while the friend has no session.
func testDialogueOffline(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	b.tunnel.close(t)
	eventually(t, "508", func() bool { return a.talk(t, b, "7") == 508 })
	a.tunnel.send(t, dialogue(`"\u0037"`, b.id, `"p"`))
	a.tunnel.want(t, replyFrame(`"\u0037"`, 508))
	// Refused dialogues are not stored. A friend is online as soon as its login is answered.
	b.login(t)
	if code := a.talk(t, b, "8"); code != 200 {
		t.Errorf("dialogue after the second login: got code %d, want 200", code)
	}
	b.tunnel.want(t, dialogueFrame(`"8"`, a.id, `"hello"`))
	// A connection that breaks without a close frame also ends the session.
	b.tunnel.ws.NetConn().Close()
	eventually(t, "508", func() bool { return a.talk(t, b, "9") == 508 })
}

// testDialogueFriendship checks that changes of a friendship apply to open tunnels of both users once they are
// answered.
func testDialogueFriendship(t *testing.T, w *world) {
	two := w.newMembers(t, 2)
	a, b := two[0], two[1]
	both := func(what string, want int) {
		t.Helper()
		for _, ends := range [][2]*member{{a, b}, {b, a}} {
			if code := ends[0].talk(t, ends[1], what); code != want {
				t.Errorf("%s: got code %d, want %d", what, code, want)
			}
			if want == 200 {
				ends[1].tunnel.want(t, dialogueFrame(`"`+what+`"`, ends[0].id, `"hello"`))
			}
		}
	}
	both("strangers", 512)
	for i, remover := range []*member{a, b, a} {
		other := two[1-remover.n]
		remover.call(t, "request", "to", other.id, "note", "n").want(t, "request", replyBody(200))
		both(fmt.Sprint("asked ", i), 512)
		other.call(t, "add", "from", remover.id, "name", "x").want(t, "add", replyBody(200))
		both(fmt.Sprint("friends ", i), 200)
		remover.call(t, "remove", "to", other.id).want(t, "remove", replyBody(200))
		both(fmt.Sprint("removed ", i), 512)
	}
}

// testDevices checks that all tunnels of a user receive a dialogue, and that it is answered once.
func testDevices(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	second, login := b.openTunnel(t)
	if login.Token == b.token || login.Profile.ID != b.id {
		t.Error("a second login must have the same id and a different token")
	}
	mine, _ := a.openTunnel(t)
	for _, id := range []string{`"1"`, `"2"`} {
		a.tunnel.send(t, dialogue(id, b.id, `"p"`))
		b.tunnel.want(t, dialogueFrame(id, a.id, `"p"`))
		second.want(t, dialogueFrame(id, a.id, `"p"`))
		a.tunnel.want(t, replyFrame(id, 200))
	}
	// The sender's other tunnel receives neither dialogue: its next frame is its own answer.
	mine.send(t, dialogue(`"3"`, b.id, `"p"`))
	mine.want(t, replyFrame(`"3"`, 200))
	// One remaining tunnel is enough for delivery.
	second.close(t)
	a.tunnel.send(t, dialogue(`"4"`, b.id, `"p"`))
	a.tunnel.want(t, replyFrame(`"4"`, 200))
	b.tunnel.want(t, dialogueFrame(`"3"`, a.id, `"p"`), dialogueFrame(`"4"`, a.id, `"p"`))
}
