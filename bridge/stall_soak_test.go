//go:build soak

package bridge

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"imctl/bridge/natstest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// TestTalksWithoutLeader takes the quorum from the streams while people talk. Dialogues between sessions without numbers go
// on. Those that were answered 200 have arrived once and in order, and are in the history once the quorum is back, where
// sessions with numbers see them. A dialogue of such a session waits.
func TestTalksWithoutLeader(t *testing.T) {
	t.Parallel()
	cluster := natstest.StartCluster(t, 3)
	natsURL := cluster.Nodes[0].URL()
	nodes := []*node{startKeeping(t, natsURL), startKeeping(t, natsURL)}
	users := nodes[0].users(t, "u", 4)
	nodes[0].befriend(t, users[0], users[1])
	nodes[0].befriend(t, users[0], users[2])
	nodes[0].befriend(t, users[2], users[3])
	a, b, here := nodes[0].login(t, users[0]), nodes[1].login(t, users[1]), nodes[0].login(t, users[2])
	keep := func(n *node, u kv.User) *session {
		return n.open(t, url.Values{"account": {u.Account}, "password": {testPassword}, "keep": {"1"}})
	}
	mine, theirs, keeps := keep(nodes[1], users[0]), keep(nodes[0], users[1]), keep(nodes[0], users[3])
	talks := []*stream{newStream(a, b), newStream(b, a)}
	local := newStream(here, a) // on one node
	talks = append(talks, local)
	var sending sync.WaitGroup
	for _, k := range talks {
		sending.Go(func() { k.send(t) })
	}
	more(t, talks, wire.Success)
	for round := range 2 {
		stopped := time.Now()
		cluster.Nodes[1].Stop()
		cluster.Nodes[2].Stop()
		for _, n := range nodes {
			wait(t, "stalled", n.talks.Stalled)
		}
		more(t, talks, wire.Success)
		t.Logf("round %d: 50 dialogues each, %v after the quorum was lost", round, time.Since(stopped))
		asked, err := keeps.send(users[2].ID)
		if err != nil {
			t.Fatal(err)
		}
		cluster.Nodes[1].Restart(t)
		cluster.Nodes[2].Restart(t)
		for _, n := range nodes {
			wait(t, "no longer stalled", func() bool { return !n.talks.Stalled() })
		}
		wait(t, "an answer to the dialogue that waits", func() bool {
			keeps.mu.Lock()
			defer keeps.mu.Unlock()
			return keeps.answers[asked] == wire.DialogueKept
		})
		more(t, talks, wire.Success)
	}
	for _, k := range talks {
		close(k.enough)
	}
	sending.Wait()
	for _, k := range talks {
		wait(t, "all dialogues are answered, and those answered 200 have arrived", k.settled)
		k.check(t)
	}
	t.Logf("507: %d, %d, %d", a.answered(wire.SendFailed), b.answered(wire.SendFailed), here.answered(wire.SendFailed))
	checkHistory(t, nodes[0], talks[:2], mine, theirs)
	checkHistory(t, nodes[1], talks[2:], mine)
}

// checkHistory checks that the history of two users has what was answered 200, without gaps and in the order of each
// sender, and that these sessions with numbers were shown no dialogue twice.
func checkHistory(t *testing.T, n *node, talks []*stream, keeping ...*session) {
	t.Helper()
	x, y := talks[0].from.id, talks[0].to.id
	sent := 0
	for _, k := range talks {
		sent += k.from.answered(wire.Success)
	}
	var all []kv.Dialogue
	wait(t, "all dialogues in the history", func() bool {
		page, err := n.talks.History(t.Context(), x, y, kv.Range{Forward: true, Limit: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		all = page.Dialogues
		return len(all) >= sent
	})
	bySender, live := make(map[string][]int), 0
	for i, d := range all {
		if d.N != uint64(i+1) {
			t.Fatalf("dialogue %d has the number %d", i+1, d.N)
		}
		id, err := strconv.Atoi(strings.Trim(string(d.ID), `"`))
		if err != nil {
			t.Fatal(err)
		}
		bySender[d.From] = append(bySender[d.From], id)
		if d.Live {
			live++
		}
	}
	if live == 0 {
		t.Error("no dialogue was delivered before it was stored")
	}
	t.Logf("%d dialogues, %d of them delivered before they were stored", len(all), live)
	for _, k := range talks {
		ids := bySender[k.from.id]
		if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
			t.Errorf("the history has dialogues twice or out of order: %v", ids)
		}
		k.from.mu.Lock()
		for id, code := range k.from.answers {
			if _, found := slices.BinarySearch(ids, id); code == wire.Success && !found {
				t.Errorf("dialogue %d was answered 200, and is not in the history", id)
			}
		}
		k.from.mu.Unlock()
	}
	for _, s := range keeping {
		if !s.alive() {
			t.Errorf("a session with numbers has ended: %v", s.err)
		}
		for _, from := range []string{x, y} {
			seen := slices.Clone(s.from(from))
			slices.Sort(seen)
			if len(slices.Compact(slices.Clone(seen))) != len(seen) {
				t.Errorf("a session with numbers was shown dialogues twice: %v", seen)
			}
		}
	}
}
