package bridge

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"imctl/bridge/audit"
	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/bridge/wire"
)

// startClusterNode starts a node on a server of a cluster. It moves to another server if that one ends.
func startClusterNode(t testing.TB, server *natstest.ClusterNode) (*node, *natstest.Log) {
	t.Helper()
	log := new(natstest.Log)
	b := startReplicated(t, server.URL(), 3, eventlog.Options{Replicas: 3}, func(o *Options) {
		o.Audit = audit.Options{Replicas: 3}
		o.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	s := httptest.NewServer(b.Handler())
	t.Cleanup(s.Close)
	return &node{Bridge: b, base: s.URL}, log
}

// TestServerOfNodeFails stops or kills the NATS server of one of two nodes, or has it hang. The sessions stay, dialogues
// go on, and a removal on the other node meanwhile holds on both when it is answered.
func TestServerOfNodeFails(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what string
		fail func(*natstest.ClusterNode)
	}{{"stopped", (*natstest.ClusterNode).Stop}, {"killed", (*natstest.ClusterNode).Kill}, {"hangs", (*natstest.ClusterNode).Hang}} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			c := natstest.StartCluster(t, 3)
			here, hereLog := startClusterNode(t, c.Nodes[0])
			there, thereLog := startClusterNode(t, c.Nodes[1])
			users := here.users(t, "u", 8)
			nodes := []*node{here, here, here, there, there, there, there, here}
			for i := 0; i < len(users); i += 2 {
				here.befriend(t, users[i], users[i+1])
			}
			sessions := make([]*session, len(users))
			for i, u := range users {
				sessions[i] = nodes[i].login(t, u)
			}
			for i := 0; i < len(users); i += 2 {
				if code := sessions[i].say(t, users[i+1].ID); code != wire.Success {
					t.Fatalf("dialogue %d before: got code %d", i, code)
				}
			}
			row.fail(c.Nodes[1])
			removed := make(chan time.Duration, 1)
			began := time.Now()
			go func() {
				for here.call(t, sessions[0], "/im/friends/remove", url.Values{"to": {users[1].ID}}) == wire.InternalError {
				}
				removed <- time.Since(began)
			}()
			for i := 2; i < len(users); i += 2 {
				wait(t, "a dialogue", func() bool { return sessions[i].say(t, users[i+1].ID) == wire.Success })
				t.Logf("pair %d goes on after %s", i/2, time.Since(began))
			}
			t.Logf("the removal is answered after %s", <-removed)
			if code := sessions[1].say(t, users[0].ID); code != wire.NotFriends {
				t.Errorf("dialogue after the removal: got code %d", code)
			}
			for i, s := range sessions {
				if !s.alive() {
					t.Errorf("session %d has ended: %v", i, s.err)
				}
			}
			for _, log := range []string{hereLog.String(), thereLog.String()} {
				if strings.Contains(log, "struck off") || strings.Contains(log, "a node is lost") {
					t.Logf("a node was struck off:\n%s", log)
				}
			}
		})
	}
}
