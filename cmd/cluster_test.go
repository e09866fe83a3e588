package cmd

import (
	"fmt"
	"testing"
)

// TestClusterIsOneMessenger checks that three nodes are one server: an account exists once, its user logs in anywhere,
// and dialogues cross nodes in both directions.
func TestClusterIsOneMessenger(t *testing.T) {
	t.Parallel()
	nodes := startProcesses(t, 3)
	w := newWorld(t, nodes)
	members := w.newMembers(t, 3)
	for i, a := range members {
		again := fmt.Sprintf(`{"account":%q,"password":"another","mail":"other@example.org"}`, a.account)
		for n := range nodes.nodes {
			w.register(t, n, again).want(t, fmt.Sprintf("account of node %d, registered again on node %d", i, n), replyBody(504))
			elsewhere := *a
			elsewhere.n = n
			elsewhere.openTunnel(t)
		}
		for _, b := range members[:i] {
			a.befriend(t, b)
			for _, pair := range [][2]*member{{a, b}, {b, a}} {
				from, to := pair[0], pair[1]
				if code := from.talk(t, to, "over"); code != 200 {
					t.Errorf("dialogue from node %d to node %d: got code %d, want 200", from.n, to.n, code)
				}
				to.tunnel.want(t, dialogueFrame(`"over"`, from.id, `"hello"`))
			}
		}
	}
	w.close(t)
	for _, p := range nodes.nodes {
		p.sound(t)
		p.stop(t)
	}
}
