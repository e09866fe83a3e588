package bridge

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// TestCutOffNodeRefusesNobody: a node that is cut off together with the NATS server that leads the bucket of the
// accounts tells no client that an account is unknown or taken. What it reads may be outdated.
func TestCutOffNodeRefusesNobody(t *testing.T) {
	t.Parallel()
	cluster := natstest.StartCluster(t, 3)
	n := startKeeping(t, cluster.Nodes[0].URL())
	known := n.users(t, "u", 1)[0]
	leader := cluster.StreamLeader("KV_im_users")
	if leader == nil {
		t.Fatal("KV_im_users has no leader")
	}
	if leader == cluster.Nodes[0] {
		startKeeping(t, cluster.Nodes[1].URL()) // the other node, which answers no heartbeat then
	} else {
		n = startKeeping(t, leader.URL())
	}
	code := func(answer io.Reader) int {
		t.Helper()
		var a struct{ Code int }
		if err := json.NewDecoder(answer).Decode(&a); err != nil {
			t.Fatal(err)
		}
		return a.Code
	}
	call := func(r *http.Response, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return code(r.Body)
	}
	login := func(account string) int {
		t.Helper()
		ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.base, "http")+"/im/login?account="+account+"&password=wrong", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		_, answer, err := ws.NextReader()
		if err != nil {
			t.Fatal(err)
		}
		return code(answer)
	}
	register := func(account string) int {
		t.Helper()
		return call(http.Post(n.base+"/im/register", "application/json", strings.NewReader(`{"account":"`+account+`","password":"x","mail":"m"}`)))
	}
	token, err := n.opts.Store.Tokens.Issue(t.Context(), known.ID, "session", kv.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	found := func() int {
		t.Helper()
		return call(http.Get(n.base + "/im/friends/found?id=" + known.ID + "&token=" + token + "&name=nobody"))
	}
	if a, b, c, d := login(known.Account), login("nobody"), register(known.Account), found(); a != 505 || b != 505 || c != 504 || d != 200 {
		t.Errorf("before: the logins are answered %d and %d, the registration %d, the search %d", a, b, c, d)
	}
	leader.Isolate()
	for _, other := range cluster.Nodes {
		if other != leader { // the node must not move to it
			other.Hang()
		}
	}
	wait(t, "the end of the lease", n.monitor.Outdated)
	if a, b, c, d := login(known.Account), login("nobody"), register(known.Account), found(); a != 500 || b != 500 || c != 500 || d != 500 {
		t.Errorf("cut off: the logins are answered %d and %d, the registration %d, the search %d; want 500", a, b, c, d)
	}
	for _, server := range cluster.Nodes {
		server.Resume()
	}
	wait(t, "a lease", func() bool { return !n.monitor.Outdated() })
	wait(t, "a certain answer", func() bool { return login("nobody") == 505 })
}
