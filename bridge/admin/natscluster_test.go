package admin

import (
	"testing"
	"time"
)

// TestClusterStatus checks what the state of a node follows from.
func TestClusterStatus(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers bool
		peer    metaPeer
		alive   bool
		state   string
	}{
		"current":                        {true, metaPeer{Current: true}, true, "ok"},
		"current, no answer":             {false, metaPeer{Current: true, Active: time.Second}, true, "ok"},
		"behind":                         {true, metaPeer{Lag: 3, Active: time.Second}, true, "lags by 3"},
		"behind, no answer":              {false, metaPeer{Lag: 3, Active: time.Second}, true, "lags by 3"},
		"silent":                         {false, metaPeer{Lag: 3, Active: time.Minute}, false, "offline"},
		"never heard since the election": {false, metaPeer{Lag: 3}, false, "offline"},
		"offline":                        {false, metaPeer{Current: true, Offline: true}, false, "offline"},
	} {
		s := ClusterStatus{Name: "c"}
		if c.answers {
			s.Nodes = []ClusterNode{{Name: "n2", Alive: true}}
		}
		var l metaLeader
		c.peer.Name, c.peer.ID = "n2", "44jzkV9D"
		l.Data.Meta.Leader, l.Data.Meta.Peers = "n1", []metaPeer{c.peer}
		s.add(l)
		n := s.Nodes[0]
		if n.Alive != c.alive || n.State != c.state || n.ID != "44jzkV9D" || peerID("n2") != n.ID {
			t.Errorf("%s: got %+v, want alive %t and state %q", name, n, c.alive, c.state)
		}
	}
}
