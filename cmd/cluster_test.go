package cmd

import (
	"fmt"
	"path/filepath"
	"strings"
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
	}
	for _, p := range nodes.nodes {
		p.stop(t) // the last nodes log that they cannot write to the audit trail alone
	}
}

// TestReplaceNode checks that a new node takes the place of a killed one: all streams then have three current replicas.
func TestReplaceNode(t *testing.T) {
	t.Parallel()
	nodes := startProcesses(t, 3)
	w := newWorld(t, nodes)
	a, b := w.newFriends(t)
	at := []string{"--data", nodes.dir(0)}
	last := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last status: %s", last)
		}
	})
	status := func() string {
		answer := command(t, t.TempDir(), "", append(at, "cluster", "status", "-o", "json")...)
		last = answer.out + answer.err
		return last
	}
	eventually(t, "a healthy cluster", func() bool { return strings.Contains(status(), `"health":"ok"`) })
	command(t, t.TempDir(), "", append(at, "cluster", "remove", "n3")...).want(t, exitUse, "is running")
	command(t, t.TempDir(), "", append(at, "cluster", "remove", "n9")...).want(t, exitNotFound, "no node")

	nodes.nodes[2].kill(t)
	eventually(t, "n3 is offline", func() bool { return strings.Contains(status(), "node n3: offline") })
	command(t, t.TempDir(), "", append(at, "cluster", "remove", "n3")...).want(t, exitDone, "removed node n3")
	nodes.routes = append(nodes.routes[:2], reservePorts(t, 1)...)
	nodes.names = []string{"n1", "n2", "n4"}
	nodes.restart(t, 2)
	eventually(t, "three current replicas", func() bool {
		s := status()
		return strings.Contains(s, `"health":"ok"`) && strings.Count(s, `"current":3`) == 8 && strings.Contains(s, `"name":"n4"`)
	})
	moved := *b
	moved.n = 2
	moved.tunnel, _ = moved.openTunnel(t)
	if code := a.talk(t, b, "new"); code != 200 {
		t.Errorf("dialogue: got code %d, want 200", code)
	}
	moved.tunnel.want(t, dialogueFrame(`"new"`, a.id, `"hello"`))
	w.close(t)
}

// TestRestoreIntoCluster takes a single server with accounts, friends, conversations and a consumer to a cluster.
func TestRestoreIntoCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	single := start(t, func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "single"), "127.0.0.1:0" })
	old := newWorld(t, single)
	a, b := old.newFriends(t)
	if code := a.talk(t, b, "kept"); code != 200 {
		t.Fatalf("dialogue: got code %d, want 200", code)
	}
	from := []string{"--data", filepath.Join(dir, "single")}
	command(t, dir, "", append(from, "attach", "add", "archive", "--role", "consumer")...).want(t, exitDone)
	command(t, dir, "", append(from, "backup", "single.tar")...).want(t, exitDone)
	old.close(t)
	single.close(t)

	nodes := startCluster(t, 3, func(c *Config) { c.NATS.Listen = "127.0.0.1:0" })
	into := []string{"--data", nodes[1].app.config.Data}
	command(t, dir, "", append(into, "restore", "single.tar", "--yes")...).want(t, exitDone)
	command(t, dir, "", append(into, "attach", "list")...).want(t, exitDone, "archive")
	command(t, dir, "", append(into, "status")...).want(t, exitDone, "health    ok\n", "accounts  2\n", "1 record")
	eventually(t, "a healthy cluster", func() bool {
		s := command(t, dir, "", append(into, "cluster", "status", "-o", "json")...)
		return strings.Contains(s.out, `"health":"ok"`) && strings.Count(s.out, `"replicas":3`) == 8
	})
	w := newWorld(t, nodes)
	for i, p := range []*member{a, b} {
		p.w, p.n = w, i
		w.secret(p.password)
		if answer := p.login(t); len(answer.Friends) != 1 {
			t.Errorf("friends of %s: %+v", p.account, answer.Friends)
		}
	}
	w.newMembers(t, 3)
	if code := a.talk(t, b, "again"); code != 200 {
		t.Errorf("dialogue: got code %d, want 200", code)
	}
}
