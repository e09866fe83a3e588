package cmd

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// sendKept sends n dialogues with keep=1, numbered from first, and waits for their answers.
func (p *keepPerson) sendKept(t testing.TB, c *tunnel, first, n int, text string) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := c.trySend(dialogue(fmt.Sprintf(`"k%d"`, first+i), p.friend.id, fmt.Sprintf(`"%d%s"`, first+i, text))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range n {
		if f := c.nextKept(t, fmt.Sprint("k", first+i)); f.Code != 202 || f.N != uint64(first+i) {
			t.Fatalf("dialogue %d: %+v", first+i, f)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// wantPlain reads dialogues as the contract has them.
func (p *keepPerson) wantPlain(t testing.TB, c *tunnel, first, n int, text string) {
	t.Helper()
	for i := range n {
		c.want(t, dialogueFrame(fmt.Sprintf(`"k%d"`, first+i), p.friend.id, fmt.Sprintf(`"%d%s"`, first+i, text)))
	}
}

// gotBy waits until the friend's login shows that the person has got everything up to n.
func (p *keepPerson) gotBy(t testing.TB, n uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("cursor %d", n), func() bool {
		c, talks := p.friend.openKeep(t, p.friend.n)
		defer c.close(t)
		return len(talks) == 1 && talks[0].PeerGot == n
	})
}

// TestContractCatchesUp: a contract session is sent what no client of its user has, after the answer to the login, the
// oldest first, and once.
func TestContractCatchesUp(t *testing.T) {
	t.Parallel()
	const n = 130 // several pages
	people := newWorld(t, start(t)).newKeepPersons(t)
	a, b := people[0], people[1]
	keep, _ := a.openKeep(t, 0)
	a.sendKept(t, keep, 1, n, "")
	one, _ := b.openTunnel(t)
	b.wantPlain(t, one, 1, n, "")
	b.gotBy(t, n)
	// Neither this session nor another one is sent them again. Both are sent what comes.
	two, _ := b.openTunnel(t)
	a.sendKept(t, keep, n+1, 3, "")
	for _, c := range []*tunnel{one, two} {
		b.wantPlain(t, c, n+1, 3, "")
	}
	one.close(t)
	two.close(t)
	b.gotBy(t, n+3)
	// Two sessions that begin at once may both be sent what is missing, and at least one is. Neither misses what comes.
	a.sendKept(t, keep, n+4, 60, "")
	one, _ = b.openTunnel(t)
	two, _ = b.openTunnel(t)
	b.gotBy(t, n+63)
	a.sendKept(t, keep, n+64, 1, "")
	var counts []int
	for _, c := range []*tunnel{one, two} {
		next := -1
		for {
			var d keepEntry
			if err := json.Unmarshal([]byte(c.next(t)), &d); err != nil {
				t.Fatal(err)
			}
			number, err := strconv.Atoi(strings.TrimPrefix(d.ID, "k"))
			if err != nil || next >= 0 && number != next {
				t.Fatalf("dialogue %s, want k%d, %v", d.ID, next, err)
			}
			if next < 0 {
				counts = append(counts, n+64-number)
			}
			if next = number + 1; number == n+64 {
				break
			}
		}
	}
	if max(counts[0], counts[1]) != 60 {
		t.Errorf("the sessions were sent %v missing dialogues, want 60 for one of them", counts)
	}
}

// TestContractSlowReader: a contract session that stops reading, and then reads on, receives everything in order.
func TestContractSlowReader(t *testing.T) {
	t.Parallel()
	const n = 1500 // 15 MB, more than may wait for a session
	text := strings.Repeat("x", 10<<10)
	people := newWorld(t, start(t, func(c *Config) { c.Sessions.WriteTimeout = 4 * time.Minute })).newKeepPersons(t)
	a, b := people[0], people[1]
	slow := b.reluctant(t)
	keep, _ := a.openKeep(t, 0)
	a.sendKept(t, keep, 1, n, text)
	b.wantPlain(t, slow, 1, n, text)
	a.sendKept(t, keep, n+1, 5, text)
	b.wantPlain(t, slow, n+1, 5, text)
	b.gotBy(t, n+5)
}

// TestAckLost: a client that ends between a dialogue and its acknowledgement finds the dialogue at its next login, and a
// contract session is sent it.
func TestAckLost(t *testing.T) {
	t.Parallel()
	people := newWorld(t, start(t)).newKeepPersons(t)
	a, b := people[0], people[1]
	keep, _ := a.openKeep(t, 0)
	c, _ := b.openKeep(t, 0)
	a.sendKept(t, keep, 1, 2, "")
	for n := range uint64(2) {
		if d := c.nextDialogue(t); d.N != n+1 {
			t.Fatalf("dialogue %+v, want number %d", d, n+1)
		}
	}
	c.ws.Close()
	c, talks := b.openKeep(t, 0)
	if len(talks) != 1 || talks[0].Got != 0 || talks[0].Last != 2 || talks[0].Entry.N != 2 {
		t.Fatalf("talks %+v", talks)
	}
	c.ws.Close()
	plain, _ := b.openTunnel(t)
	b.wantPlain(t, plain, 1, 2, "")
}

// TestBotWasAway: a NATS client finds by talks and dialogues what was sent while it was away, and acknowledges it by
// got. It acknowledges a live dialogue by an empty reply.
func TestBotWasAway(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	people := w.newKeepPersons(t)
	a, bot := people[0], people[1]
	keep, _ := a.openKeep(t, 0)
	a.sendKept(t, keep, 1, 3, "")
	nc := s.asUser(t, bot.member)
	ask := func(call, request string) (f keepFrame, page keepPage) {
		t.Helper()
		answer := []byte(nc.Ask(t, "im.call."+bot.id+"."+call, request))
		if err := json.Unmarshal(answer, &f); err != nil || f.Code != 200 {
			t.Fatalf("%s: %s, %v", call, answer, err)
		}
		if err := json.Unmarshal(answer, &page); err != nil {
			t.Fatalf("%s: %s, %v", call, answer, err)
		}
		return f, page
	}
	if f, _ := ask("talks", `{}`); len(f.Talks) != 1 || f.Talks[0].Last != 3 || f.Talks[0].Got != 0 {
		t.Fatalf("talks: %+v", f.Talks)
	}
	_, page := ask("dialogues", fmt.Sprintf(`{"with":"%s","after":1,"limit":10}`, a.id))
	if len(page.Dialogues) != 2 || page.Dialogues[0].N != 2 || page.Dialogues[1].Payload != "3" || page.First != 1 || page.Last != 3 {
		t.Fatalf("dialogues: %+v", page)
	}
	ask("got", fmt.Sprintf(`{"with":"%s","got":3}`, a.id))
	delivered := func(n uint64) {
		t.Helper()
		for {
			if f := keep.nextKeep(t); f.Code == 303 && f.ID == bot.id && f.N == n {
				return
			}
		}
	}
	delivered(3)
	eventually(t, "the cursor of the bot", func() bool { f, _ := ask("talks", `{}`); return f.Talks[0].Got == 3 })
	_, err := nc.Subscribe("im.user."+bot.id+".dialogue", func(m *nats.Msg) {
		if err := m.Respond(nil); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	a.sendKept(t, keep, 4, 1, "")
	delivered(4)
	eventually(t, "the cursor of the bot", func() bool { f, _ := ask("talks", `{}`); return f.Talks[0].Got == 4 })
}
