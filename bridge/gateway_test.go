package bridge

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/gateway"
	"imctl/bridge/natstest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// gatewayProgram is a gateway on a NATS server that lets all clients in. It acknowledges what it takes, and notes it.
type gatewayProgram struct {
	nc *nats.Conn

	mu    sync.Mutex
	taken []string
}

func startGateway(t *testing.T, natsURL string) *gatewayProgram {
	t.Helper()
	nc, err := nats.Connect(natsURL, nats.CustomInboxPrefix("_INBOX.matrix"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	g := &gatewayProgram{nc: nc}
	_, err = nc.Subscribe("im.gateway.matrix.dialogue.*", func(m *nats.Msg) {
		if !strings.Contains(string(m.Data), `"from":""`) {
			g.mu.Lock()
			g.taken = append(g.taken, string(m.Data))
			g.mu.Unlock()
		}
		if err := m.Respond(nil); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// call makes a call, and waits until its answer has the code.
func (g *gatewayProgram) call(t *testing.T, code wire.Code, subject, body string) (r gateway.Result) {
	t.Helper()
	m, err := g.nc.Request("im.gateway.matrix."+subject, []byte(body), 20*time.Second)
	if err == nil {
		err = json.Unmarshal(m.Data, &r)
	}
	if err != nil || r.Code != code {
		t.Fatalf("%s: %+v, %v, want %v", subject, r, err, code)
	}
	return r
}

// openOn opens sessions until one is on that node.
func (g *gatewayProgram) openOn(t *testing.T, n *node) string {
	t.Helper()
	for {
		session := g.call(t, wire.Success, "open", "{}").Session
		if strings.HasPrefix(session, n.node.ID+".") {
			return session
		}
	}
}

// numbers returns the numbers of the dialogues that the gateway has taken, in the order in which they came.
func (g *gatewayProgram) numbers(t *testing.T) (all []uint64) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, data := range g.taken {
		d, ok := wire.ParseKept([]byte(data))
		if !ok {
			t.Fatalf("no kept dialogue: %s", data)
		}
		all = append(all, d.N)
	}
	return all
}

// TestGatewayOnTwoNodes moves the session of a gateway from node to node. Its user takes each kept dialogue once and in
// order, and reads what it missed while it was offline.
func TestGatewayOnTwoNodes(t *testing.T) {
	t.Parallel()
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	nodes := []*node{startPlainKeeping(t, natsURL), startPlainKeeping(t, natsURL)}
	store := nodes[0].opts.Store
	if _, _, err := store.Attachments.Add(t.Context(), kv.Attachment{Name: "matrix", Role: kv.RoleGateway, Accounts: "matrix_*"}); err != nil {
		t.Fatal(err)
	}
	g := startGateway(t, natsURL)
	ada := kv.User{ID: g.call(t, wire.Success, "register", `{"account":"matrix_ada"}`).ID}
	person := nodes[1].users(t, "person", 1)[0]
	nodes[0].befriend(t, ada, person)
	s := nodes[1].openWindow(t, url.Values{"account": {person.Account}, "password": {testPassword}, "keep": {"1"}}, 64)
	online := fmt.Sprintf(`{"users":[%q]}`, ada.ID)
	const each = 50
	sent := 0
	say := func(n int) {
		t.Helper()
		for range n {
			if code := s.say(t, ada.ID); code != wire.DialogueKept {
				t.Fatalf("dialogue: code %d", code)
			}
			sent++
		}
	}
	session := ""
	for round := range 4 {
		earlier := session
		session = g.openOn(t, nodes[round%2])
		if earlier != "" {
			g.call(t, wire.LoginElsewhere, "online."+earlier, online)
		}
		g.call(t, wire.Success, "online."+session, online)
		say(each)
	}
	wait(t, "all dialogues", func() bool { return len(g.numbers(t)) >= sent })
	if got := g.numbers(t); !slices.Equal(got, upTo(sent)) {
		t.Errorf("the gateway took %v", got)
	}
	wait(t, "the acknowledgement", func() bool { return cursor(t, nodes[0], ada.ID, person.ID).Got == uint64(sent) })

	// What is sent while the user is offline is kept. The gateway reads it and acknowledges it.
	g.call(t, wire.Success, "offline."+session, "{}")
	say(3)
	if n := cursor(t, nodes[1], ada.ID, person.ID).Got; n > uint64(sent-3) { // the other node may have told it less so far
		t.Errorf("acknowledged while the user is offline: %d", n)
	}
	m, err := g.nc.Request("im.gateway.matrix.call."+ada.ID+".dialogues", fmt.Appendf(nil, `{"with":%q,"after":%d}`, person.ID, sent-3), 20*time.Second)
	if err != nil || strings.Count(string(m.Data), `"from"`) != 3 {
		t.Fatalf("what the user missed: %s, %v", m.Data, err)
	}
	g.call(t, wire.Success, "call."+ada.ID+".got", fmt.Sprintf(`{"with":%q,"got":%d}`, person.ID, sent))
	wait(t, "the acknowledgement", func() bool { return cursor(t, nodes[0], ada.ID, person.ID).Got == uint64(sent) })

	// A node that ends takes its sessions with it. The gateway opens another one on the other node.
	session = g.openOn(t, nodes[0])
	g.call(t, wire.Success, "online."+session, online)
	if err := nodes[0].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.nc.Request("im.gateway.matrix.online."+session, []byte("{}"), 20*time.Second); err != nats.ErrNoResponders {
		t.Errorf("a call to a node that has ended: %v", err)
	}
	session = g.call(t, wire.Success, "open", "{}").Session
	g.call(t, wire.Success, "online."+session, online)
	say(1)
	wait(t, "the dialogue", func() bool { all := g.numbers(t); return all[len(all)-1] == uint64(sent) })
}

func upTo(n int) (all []uint64) {
	for i := range n {
		all = append(all, uint64(i+1))
	}
	return all
}

// cursor returns how far a user has come in a conversation.
func cursor(t *testing.T, n *node, user, with string) kv.Cursor {
	t.Helper()
	all, err := n.talks.Cursors(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return all[with]
}
