package cmd

import (
	"encoding/json"
	"fmt"
	"strings"
)

// program records what dora, a NATS client, sees.
func (r *recorder) program(ann, dora, bob, eve *dayUser, a *window) {
	r.part("By NATS")
	w := dora.login("Dora")
	w.closes()
	bot := dora.byNATS(func(frame string) []byte {
		var d struct{ Payload string }
		_ = json.Unmarshal([]byte(frame), &d)
		if strings.HasPrefix(d.Payload, "reply ") {
			return []byte(d.Payload[len("reply "):])
		}
		if d.Payload == "be silent" {
			return nil
		}
		return []byte{}
	})
	defer bot.nc.Close()
	call := func(name, fields string) string { return bot.requests("im.call."+dora.id+"."+name, fields) }
	for _, name := range []string{"found", "request", "add", "remove", "block", "unblock", "blocked", "profile", "report", "sessions", "verify", "mailcode"} {
		call(name, ``)
		call(name, `{}`)
		call(name, `{"to":1}`)
	}
	call("found", `{"name":"Ann"}`)
	call("request", `{"to":"`+ann.id+`","note":"I am a program"}`)
	ann.friends("add", "from", dora.id, "name", "The program")
	bot.sees(1)
	call("add", `{"from":"`+ann.id+`","name":"My user"}`)
	call("add", `{"from":"`+ann.id+`","name":"My user"}`)
	w = ann.login("Ann, again")
	w.closes()

	for i, payload := range []string{
		`"hello"`, `"reply {\"code\":200}"`, `"\u00e9 \/"`, `"reply {\"code\":512}"`, `"reply {\"code\":507}"`, `"reply {\"code\":500}"`, `"reply nonsense"`, `"be silent"`, `"hello"`,
	} {
		a.says(fmt.Sprint("to the program ", i), dora, payload, bot)
	}
	send := func(frame string) { bot.requests("im.send."+dora.id, frame) }
	for i, payload := range []string{`"hello"`, `" "`, `"\u0041 \/ é"`} {
		id := fmt.Sprintf(`"from the program %d"`, i)
		bot.requests("im.send."+dora.id, dialogue(id, ann.id, payload))
		a.sees(1)
		bot.sees(1) // the echo
	}
	never := strings.Repeat("0", 32)
	for _, frame := range []string{
		``, `x`, `[]`, `{}`, `{"id":"1"}`, `{"id":"1","toFriend":"` + ann.id + `"}`, dialogue(`"1"`, bob.id, `"p"`), dialogue(`"1"`, never, `"p"`), dialogue(`""`, ann.id, `"p"`),
		dialogue(`1`, ann.id, `"p"`), dialogue(`"1"`, ann.id, `1`), dialogue(`"1"`, ann.id, `"`+strings.Repeat("x", 9<<10)+`"`),
	} {
		send(frame)
	}
	r.quiet(a)
	call("profile", `{"sign":"Always there"}`)
	call("profile", `{"password":"stolen"}`)
	push := ann.login("Ann with push", "push", "1")
	call("profile", `{"sign":"Still there"}`)
	push.sees(1)
	bot.requests("im.send."+dora.id, dialogue(`"both"`, ann.id, `"to both sessions"`))
	a.sees(1)
	push.sees(1)
	bot.sees(1)
	call("block", `{"to":"`+ann.id+`"}`)
	push.sees(1)
	bot.sees(1)
	a.says("blocked", dora, `"x"`)
	bot.requests("im.send."+dora.id, dialogue(`"blocked"`, ann.id, `"x"`))
	call("blocked", `{}`)
	call("unblock", `{"to":"`+ann.id+`"}`)
	push.sees(1)
	bot.sees(1)
	a.says("unblocked", dora, `"x"`, bot)
	push.sees(1)
	call("remove", `{"to":"`+ann.id+`"}`)
	push.sees(1)
	bot.sees(1)
	a.says("parted", dora, `"x"`)
	r.quiet(a, push)
	push.closes()
	r.programOffline(bot, dora, eve)
	call("delete", `{"password":"wrong"}`)
}

// programOffline records what the program sends to eve, who is offline. If the server keeps conversations, eve gets
// these dialogues at its next login, and that is all that a contract session ever sees of it.
func (r *recorder) programOffline(bot *window, dora, eve *dayUser) {
	w := eve.login("Eve")
	eve.friends("request", "to", dora.id)
	bot.sees(1)
	bot.requests("im.call."+dora.id+".add", `{"from":"`+eve.id+`","name":"Eve"}`)
	bot.sees(1)
	w.closes()
	bot.sees(1)
	for i := range 3 {
		bot.requests("im.send."+dora.id, dialogue(fmt.Sprintf(`"offline %d"`, i), eve.id, `"Are you there?"`))
		bot.seesKept(echoFrame(fmt.Sprintf(`"offline %d"`, i), &member{id: dora.id}, &member{id: eve.id}, `"Are you there?"`))
	}
	w = eve.login("Eve")
	bot.sees(1)
	for i := range 3 {
		w.seesKept(dialogueFrame(fmt.Sprintf(`"offline %d"`, i), dora.id, `"Are you there?"`))
	}
	w.says("back", dora, `"Here I am"`, bot)
	w.closes()
	bot.sees(1)
	w = eve.login("Eve")
	bot.sees(1)
	r.quiet(w)
	w.closes()
	bot.sees(1)
}
