package cmd

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/cluster"
	"imctl/bridge/subject"
)

// echoFrame returns the frame that the sender's other devices receive for a dialogue.
func echoFrame(id string, from, to *member, payload string) string {
	return `{"id":` + id + `,"from":"` + from.id + `","toFriend":"` + to.id + `","payload":` + payload + `}`
}

// timePattern matches the time of a dialogue that is kept.
const timePattern = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`

// keptEcho matches the frame that the sender's NATS clients receive for a dialogue that is kept.
func keptEcho(id string, from, to *member, payload string) *regexp.Regexp {
	q := regexp.QuoteMeta
	return regexp.MustCompile(`^\{"id":` + q(id) + `,"from":"` + from.id + `","payload":` + q(payload) + `,"with":"` + to.id +
		`","n":[1-9]\d*,"at":"` + timePattern + `","toFriend":"` + to.id + `"\}$`)
}

// keptReply matches the answer to a dialogue that is kept.
func keptReply(id string) *regexp.Regexp {
	return regexp.MustCompile(`^` + regexp.QuoteMeta(strings.TrimSuffix(replyFrame(id, 202), "}")) + `,"n":[1-9]\d*,"at":"` + timePattern + `"\}$`)
}

// deliveredNotice matches the notice that a client of the friend has all dialogues up to a number.
func deliveredNotice(friend *member) *regexp.Regexp {
	return regexp.MustCompile(`^\{"code":303,"message":"Dialogue Delivered","ok":true,"id":"` + friend.id + `","n":[1-9]\d*\}$`)
}

// testEcho checks that the user's other devices with push=1 receive each delivered dialogue, on any server.
func testEcho(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	gone := w.newMembers(t, 1)[0]
	gone.tunnel.close(t)
	eventually(t, "the session has ended", func() bool {
		open, err := w.services().Cluster.Sessions(t.Context(), cluster.ListSessions{User: gone.id})
		return len(open) == 0 && err == nil
	})
	a.befriend(t, gone)
	eventually(t, "508", func() bool { return a.talk(t, gone, "off") == 508 })
	here, _ := a.openTunnel(t, "push", "1")
	there, _ := a.onNextServer().openTunnel(t, "push", "1")
	silent, _ := a.openTunnel(t)
	sender, _ := a.openTunnel(t, "push", "1")
	const id, payload = `"7\u0041 \/"`, `" <b>\ud83d\ude42\u003c "`
	sender.send(t, dialogue(id, b.id, payload))
	b.tunnel.want(t, dialogueFrame(id, a.id, payload))
	sender.want(t, replyFrame(id, 200))
	for _, c := range []*tunnel{here, there} {
		c.want(t, echoFrame(id, a, b, payload))
	}
	// Echoes are in order. Refused dialogues have no echo.
	for n := range 20 {
		for to, code := range map[string]int{gone.id: 508, "nobody": 512, b.id: 200} {
			sender.send(t, dialogue(fmt.Sprint(`"`, n, `"`), to, `"x"`))
			sender.want(t, replyFrame(fmt.Sprint(`"`, n, `"`), code))
		}
		b.tunnel.want(t, dialogueFrame(fmt.Sprint(`"`, n, `"`), a.id, `"x"`)) // a session that does not read is cut off
	}
	for n := range 20 {
		for _, c := range []*tunnel{here, there} {
			c.want(t, echoFrame(fmt.Sprint(`"`, n, `"`), a, b, `"x"`))
		}
	}
	// The sender and devices without push=1 get no echo: their next frame is the friend's dialogue.
	if code := b.talk(t, a, "back"); code != 200 {
		t.Errorf("dialogue of the friend: got code %d, want 200", code)
	}
	for _, c := range []*tunnel{sender, silent, a.tunnel, here, there} {
		c.want(t, dialogueFrame(`"back"`, b.id, `"hello"`))
	}
}

// onNextServer returns the same user with the number of the next server, if there are several.
func (p *member) onNextServer() *member {
	return &member{w: p.w, n: p.n + 1, account: p.account, password: p.password, id: p.id, token: p.token}
}

// TestEchoAndNATSClients checks that a NATS client of a user counts as one of its devices, on any server.
func TestEchoAndNATSClients(t *testing.T) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		s := start(t, natsListener)
		testEchoByNATS(t, newWorld(t, s), s.natsURL())
	})
	t.Run("two servers", func(t *testing.T) {
		t.Parallel()
		there := startExternalNATS(t)
		patient := func(c *Config) { c.Sessions.WriteTimeout = waitTimeout } // with sessions that do not read for a while
		both := bridges{start(t, there.attached, patient), start(t, there.attached, patient)}
		w := newWorld(t, both)
		for range 3 { // NATS asks one of the two servers at random
			testEchoByNATS(t, w, firstGroup(there.url, `@(.+)$`))
		}
	})
}

func testEchoByNATS(t *testing.T, w *world, url string) {
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "0"); code != 200 {
		t.Fatal(code)
	}
	nc, err := nats.Connect(url, nats.UserInfo(a.account, a.password), nats.CustomInboxPrefix(subject.Inbox(a.id)), nats.Timeout(waitTimeout))
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
	b.tunnel.want(t, dialogueFrame(`"0"`, a.id, `"hello"`))
	// A NATS client is told what the friend has, too: such a notice may arrive before any echo.
	nextEcho := func(wait time.Duration) (string, error) {
		for {
			m, err := notices.NextMsg(wait)
			if err != nil {
				return "", err
			}
			if !deliveredNotice(b).Match(m.Data) {
				return string(m.Data), nil
			}
		}
	}
	var first string // the first echo; a login to NATS does not wait until all servers know of the new device
	eventually(t, "an echo", func() bool {
		if code := a.talk(t, b, "1"); code != 200 {
			t.Fatal(code)
		}
		b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))
		first, err = nextEcho(10 * time.Millisecond)
		return err == nil
	})
	if !keptEcho(`"1"`, a, b, `"hello"`).MatchString(first) {
		t.Errorf("NATS client: got %s, want the echo of 1", first)
	}
	push, _ := a.onNextServer().openTunnel(t, "push", "1")
	if code := a.talk(t, b, "2"); code != 200 {
		t.Fatal(code)
	}
	b.tunnel.want(t, dialogueFrame(`"2"`, a.id, `"hello"`))
	for { // an earlier echo may arrive before it
		echo, err := nextEcho(waitTimeout)
		if err != nil {
			t.Fatal(err)
		}
		if keptEcho(`"2"`, a, b, `"hello"`).MatchString(echo) {
			break
		}
		if !keptEcho(`"1"`, a, b, `"hello"`).MatchString(echo) {
			t.Errorf("NATS client: got %s, want the echo of 2", echo)
		}
	}
	push.want(t, echoFrame(`"2"`, a, b, `"hello"`))
	m, err := nc.Request("im.send."+a.id, []byte(dialogue(`"3"`, b.id, `"x"`)), waitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if !keptReply(`"3"`).Match(m.Data) {
		t.Fatalf("answer to a NATS client: %s", m.Data)
	}
	b.tunnel.want(t, dialogueFrame(`"3"`, a.id, `"x"`))
	// A NATS client gets echoes of its own dialogues too.
	if echo, err := nextEcho(waitTimeout); err != nil || !keptEcho(`"3"`, a, b, `"x"`).MatchString(echo) {
		t.Errorf("NATS client: got %s, %v, want the echo of 3", echo, err)
	}
	push.want(t, echoFrame(`"3"`, a, b, `"x"`))
	if code := b.talk(t, a, "4"); code != 200 {
		t.Fatal(code)
	}
	a.tunnel.want(t, dialogueFrame(`"4"`, b.id, `"hello"`)) // opened without push=1
}
