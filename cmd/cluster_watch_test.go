package cmd

import (
	"strings"
	"testing"
)

// TestWatchCluster: top shows all three nodes of a cluster, and doctor warns of a missing node.
func TestWatchCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	w := newWorld(t, nodes)
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Fatalf("answered %d", code)
	}
	data := []string{"--data", nodes[0].app.config.Data}
	v := fromJSON[topView](t, command(t, t.TempDir(), "", append(data, "top", "-o", "json", "-n", "1")...).want(t, exitDone).out)
	sessions := 0
	for _, n := range v.Nodes {
		if sessions += n.Sessions; n.State != "ok" || n.Goroutines == 0 {
			t.Errorf("node %+v", n)
		}
	}
	if len(v.Nodes) != 3 || sessions != 2 {
		t.Errorf("%d nodes with %d sessions", len(v.Nodes), sessions)
	}
	command(t, t.TempDir(), "", append(data, "top", "--once")...).want(t, exitDone, "sessions 2")
	config := *nodes[0].app.config
	eventually(t, "doctor finds three nodes and all replicas", func() bool {
		d := examined(t, &config)
		return len(d.of("nodes"))+len(d.of("streams")) == 0
	})
	w.close(t)
	nodes[2].close(t)
	eventually(t, "doctor misses a node", func() bool {
		for _, f := range examined(t, &config).found {
			if f.Level == levelFail && strings.Contains(f.Text, "n3") && f.Remedy != "" {
				return true
			}
		}
		return false
	})
}
