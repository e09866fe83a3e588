//go:build unix

package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
)

// mixedWorld is a world on two nodes of different versions that are attached to NATS servers.
type mixedWorld struct {
	*world
	nats string // addresses of the NATS servers, with the user of imctl
}

// together checks what two nodes have to agree on.
func (m mixedWorld) together(t *testing.T) {
	m.dialogues(t)
	m.acknowledgements(t)
	m.removals(t)
	m.bot(t)
}

// dialogues checks dialogues of contract sessions in both directions, and a login on the other node.
func (m mixedWorld) dialogues(t *testing.T) {
	a, b := m.newFriends(t)
	for _, pair := range [][2]*member{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		for _, id := range []string{"one", "two"} {
			if code := from.talk(t, to, id); code != 200 {
				t.Fatalf("dialogue from node %d: got code %d, want 200", from.n, code)
			}
			to.tunnel.want(t, dialogueFrame(`"`+id+`"`, from.id, `"hello"`))
		}
		elsewhere := *from
		elsewhere.n++
		c, answer := elsewhere.openTunnel(t)
		if len(answer.Friends) != 1 || !answer.Friends[0].Online {
			t.Errorf("login on the other node: friends %+v", answer.Friends)
		}
		if code := to.talk(t, from, "to both"); code != 200 {
			t.Fatalf("dialogue to two nodes: got code %d, want 200", code)
		}
		for _, session := range []*tunnel{from.tunnel, c} {
			session.want(t, dialogueFrame(`"to both"`, to.id, `"hello"`))
		}
		c.close(t)
	}
}

// acknowledgements checks kept dialogues in both directions, and that both ends hear of acknowledgements.
func (m mixedWorld) acknowledgements(t *testing.T) {
	people := m.newKeepPersons(t)
	var sessions [2]*tunnel
	for i, p := range people {
		sessions[i], _ = p.openKeep(t, i)
	}
	n := uint64(0)
	say := func(from int, id string) {
		t.Helper()
		n++
		sessions[from].send(t, dialogue(`"`+id+`"`, people[from].friend.id, `"hello"`))
		if f := sessions[from].nextKept(t, id); f.Code != 202 || f.N != n {
			t.Fatalf("dialogue %s from node %d: %+v, want number %d", id, from, f, n)
		}
	}
	for i, p := range people {
		there := sessions[i^1]
		id := fmt.Sprint("from ", i)
		say(i, id)
		if d := there.nextDialogue(t); d.N != n || d.ID != id {
			t.Fatalf("on node %d: %+v, want number %d", i^1, d, n)
		}
		for _, news := range []struct {
			verb string
			code int
		}{{"got", 303}, {"read", 304}} {
			there.send(t, fmt.Sprintf(`{"%s":%d,"with":"%s"}`, news.verb, n, p.id))
			for {
				if f := sessions[i].nextKeep(t); f.Code == news.code && f.N == n && f.ID == p.friend.id {
					break
				}
			}
		}
	}
	plain, _ := people[1].openTunnelAt(t, 0) // a contract session on the other node
	say(0, "to a device")
	for plain.next(t) != dialogueFrame(`"to a device"`, people[0].id, `"hello"`) { // cursors are stored once a second: it may be sent the one before
	}
	for _, c := range append(sessions[:], plain) {
		c.close(t)
	}
}

// openTunnelAt opens a contract session on a node.
func (p *keepPerson) openTunnelAt(t *testing.T, node int) (*tunnel, loginAnswer) {
	t.Helper()
	there := *p.member
	there.n = node
	return there.openTunnel(t)
}

// removals checks that a friendship holds and ends on both nodes when that is answered, on whichever node it ends.
func (m mixedWorld) removals(t *testing.T) {
	for remover := range 2 {
		a, b := m.newFriends(t)
		two := []*member{a, b}
		if code := a.talk(t, b, "friends"); code != 200 {
			t.Fatalf("dialogue between friends: got code %d", code)
		}
		b.tunnel.want(t, dialogueFrame(`"friends"`, a.id, `"hello"`))
		two[remover].call(t, "remove", "to", two[remover^1].id).want(t, "remove", replyBody(200))
		for _, p := range two {
			if code := p.talk(t, two[p.n^1], "removed"); code != int(wire.NotFriends) {
				t.Errorf("dialogue on node %d after a removal on node %d: got code %d, want %d", p.n, remover, code, wire.NotFriends)
			}
		}
	}
}

// bot checks that a NATS client logs in, and talks with users of both nodes.
func (m mixedWorld) bot(t *testing.T) {
	all := m.newMembers(t, 3)
	bot := all[2]
	for _, p := range all[:2] {
		p.befriend(t, bot)
	}
	bot.tunnel.close(t)
	_, host, _ := strings.Cut(m.nats, "@")
	host, _, _ = strings.Cut(host, ",")
	nc := bridgetest.Connect(t, "nats://"+host, bot.account, bot.password, subject.Inbox(bot.id))
	got := make(chan string, 16)
	_, err := nc.Subscribe("im.user."+bot.id+".dialogue", func(msg *nats.Msg) {
		if !bytes.HasPrefix(msg.Data, []byte(`{"id":""`)) { // a question for presence
			got <- string(msg.Data)
		}
		if err := msg.Respond(nil); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all[:2] {
		eventually(t, "interest in a bot on all NATS servers", func() bool { return p.talk(t, bot, "to the bot") == 200 })
		var d struct{ From string }
		if data := <-got; json.Unmarshal([]byte(data), &d) != nil || d.From != p.id {
			t.Errorf("the bot got %s", data)
		}
		answer := nc.Ask(t, "im.send."+bot.id, dialogue(`"answer"`, p.id, `"x"`))
		if code := (reply{body: answer}).code(); code != 200 && code != 202 {
			t.Fatalf("dialogue of a bot to node %d: %s", p.n, answer)
		}
		p.tunnel.want(t, dialogueFrame(`"answer"`, bot.id, `"x"`))
	}
	nc.Close()
}

// survivors checks that users of one node talk and change their friendships while the other node is killed, and that
// users of the killed one log in on it.
func (m mixedWorld) survivors(t *testing.T, node int, when string) {
	a, b := m.newMember(t, node), m.newMember(t, node)
	a.login(t)
	b.login(t)
	a.befriend(t, b)
	for _, id := range []string{"one", "two"} {
		if code := a.talk(t, b, id); code != 200 {
			t.Fatalf("dialogue %s: got code %d, want 200", when, code)
		}
		b.tunnel.want(t, dialogueFrame(`"`+id+`"`, a.id, `"hello"`))
	}
	a.call(t, "remove", "to", b.id).want(t, "remove "+when, replyBody(200))
	if code := b.talk(t, a, "removed"); code != int(wire.NotFriends) {
		t.Errorf("dialogue after a removal %s: got code %d, want %d", when, code, wire.NotFriends)
	}
}
