package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClusterSettings checks that each mistake in nats.cluster is reported with its line, and never with the secret.
func TestClusterSettings(t *testing.T) {
	t.Parallel()
	const (
		secret = "secret-secret-secret-secret-secret"
		three  = "routes: ['127.0.0.1:6222', '10.0.0.2:6222', '10.0.0.3:6222']"
		start  = "nats:\n  cluster:\n    name: c\n    listen: 127.0.0.1:6222\n    secret: " + secret + "\n"
	)
	for name, c := range map[string]struct{ text, want string }{
		"three nodes":           {start + "    " + three, ""},
		"five nodes":            {start + "    routes: ['127.0.0.1:6222', 'b:1', 'c:1', 'd:1', 'e:1']", ""},
		"all addresses":         {strings.Replace(start, "127.0.0.1:6222", "':6222'", 1) + "    routes: ['im1:6222', 'im2:6222', 'im3:6222']", ""},
		"nats://":               {start + "    routes: ['nats://127.0.0.1:6222', 'nats://b:1', 'nats://c:1']", ""},
		"one node":              {start + "    routes: ['127.0.0.1:6222']", "config.yaml:6: nats.cluster.routes: has one node"},
		"two nodes":             {start + "    routes: ['127.0.0.1:6222', 'b:1']", "config.yaml:6: nats.cluster.routes: has two nodes: a cluster of two stops when either of them fails"},
		"four nodes":            {start + "    routes: ['127.0.0.1:6222', 'b:1', 'c:1', 'd:1']", "config.yaml:6: nats.cluster.routes: has four nodes"},
		"twice":                 {start + "    routes: ['127.0.0.1:6222', 'b:1', 'b:1']", "config.yaml:6: nats.cluster.routes: names a node twice"},
		"without this node":     {start + "    routes: ['127.0.0.2:6222', 'b:1', 'c:1']", "config.yaml:6: nats.cluster.routes: does not contain this node, which listens on 127.0.0.1:6222"},
		"another port":          {start + "    routes: ['127.0.0.1:6223', 'b:1', 'c:1']", "config.yaml:6: nats.cluster.routes: does not contain this node"},
		"no routes":             {start, "config.yaml:3: nats.cluster.name: requires nats.cluster.routes"},
		"no listener":           {"nats:\n  cluster:\n    name: c\n    secret: " + secret + "\n    " + three, "config.yaml:3: nats.cluster.name: requires nats.cluster.listen"},
		"no secret":             {"nats:\n  cluster:\n    name: c\n    listen: 127.0.0.1:6222\n    " + three, "config.yaml:3: nats.cluster.name: requires nats.cluster.secret"},
		"a short secret":        {"nats:\n  cluster:\n    name: c\n    listen: 127.0.0.1:6222\n    secret: hunter2\n    " + three, "config.yaml:5: nats.cluster.secret: must have at least 32 characters"},
		"no name":               {"nats:\n  cluster:\n    listen: 127.0.0.1:6222\n", "nats.cluster.name: must not be empty"},
		"a node and no name":    {"nats:\n  cluster:\n    node: n1\n", "nats.cluster.name: must not be empty"},
		"port 0":                {strings.Replace(start, ":6222", ":0", 1) + "    routes: ['127.0.0.1:1', 'b:1', 'c:1']", "config.yaml:4: nats.cluster.listen: must have a port"},
		"attached":              {start + "    " + three + "\n  url: nats://127.0.0.1:4222", "config.yaml:3: nats.cluster.name: cannot be combined with nats.url"},
		"a certificate":         {start + "    " + three + "\n    tls: {cert: c.pem}", "config.yaml:7: nats.cluster.tls.cert: requires nats.cluster.tls.key and nats.cluster.tls.ca"},
		"too many replicas":     {start + "    " + three + "\n  replicas: 5", "config.yaml:7: nats.replicas: must not exceed the number of nodes in nats.cluster.routes, 3"},
		"replicas, one server":  {"nats:\n  replicas: 3", "config.yaml:2: nats.replicas: must be 0 or 1 on a single server"},
		"monitor, attached":     {"nats:\n  url: nats://127.0.0.1:4222\n  monitor: 127.0.0.1:8222", "config.yaml:3: nats.monitor: cannot be combined with nats.url"},
		"the port of a client":  {start + "    " + three + "\n  listen: 127.0.0.1:6222", "nats.cluster.listen: is the same address as nats.listen"},
		"replicas of an attach": {"nats:\n  url: nats://127.0.0.1:4222\n  replicas: 3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(LoadOptions{Dir: writeConfig(t, c.text+"\n")})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want) && !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			case err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "hunter2")):
				t.Errorf("the secret is in %v", err)
			}
		})
	}
}

// TestDefaultReplicas checks how many replicas nats.replicas 0 means.
func TestDefaultReplicas(t *testing.T) {
	t.Parallel()
	node := func(n, replicas int) NATSConfig {
		return NATSConfig{Replicas: replicas, Cluster: ClusterConfig{Name: "c", Routes: make([]string, n)}}
	}
	for _, c := range []struct {
		config NATSConfig
		want   int
	}{
		{NATSConfig{}, 1}, {NATSConfig{URL: "nats://a"}, 1}, {NATSConfig{URL: "nats://a", Replicas: 3}, 3},
		{node(3, 0), 3}, {node(5, 0), 5}, {node(5, 3), 3}, {node(3, 1), 1},
	} {
		if got := c.config.replicas(); got != c.want {
			t.Errorf("%+v: got %d, want %d", c.config, got, c.want)
		}
	}
}

// TestNodeCommandsNeedServer checks that commands do not open the data directory of a node that does not run.
func TestNodeCommandsNeedServer(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "backup", "b.tar").want(t, exitDone)
	node := filepath.Join(dir, "node")
	if err := os.Mkdir(node, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(node, "mode"), []byte("cluster\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"user", "list"}, {"status"}, {"cluster", "status"}, {"backup", "c.tar"}, {"check", "--data"},
		{"restore", "b.tar", "--yes"}, {"restore", "--complete"}} {
		command(t, dir, "", append(args, "--data", node)...).want(t, exitNoServer, "belongs to a node of a cluster; start the node with imctl serve")
	}
	entries, err := os.ReadDir(node)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "mode" && e.Name() != "lock" {
			t.Errorf("a command has written %s", e.Name())
		}
	}
}

// TestClusterSecretCommand checks that the command prints a secret that the configuration accepts, each time another.
func TestClusterSecretCommand(t *testing.T) {
	t.Parallel()
	first, second := command(t, t.TempDir(), "", "cluster", "secret"), command(t, t.TempDir(), "", "cluster", "secret")
	if first.out == second.out {
		t.Error("the same secret twice")
	}
	if err := clusterSecret(Secret(strings.TrimSpace(first.out))); err != nil {
		t.Error(err)
	}
}

// TestClusterAdd checks what the command prints and refuses.
func TestClusterAdd(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.NATS.Cluster = ClusterConfig{Name: "chat", Routes: []string{"a:1", "b:1", "c:1"}, Secret: "hunter2"}
	healthy := clusterState{Health: "ok"}
	healthy.Leader = "n1"
	text, err := addition(c, healthy, []string{"n4", "d:7"}, "b:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: chat", "node: n4", "listen: 0.0.0.0:7", "routes: [a:1, c:1, d:7]"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Error("the secret is printed")
	}
	if text, err = addition(c, healthy, []string{"n4", "d:1", "n5", "e:1"}, ""); err != nil || !strings.Contains(text, "[a:1, b:1, c:1, d:1, e:1]") {
		t.Errorf("two more nodes: %v\n%s", err, text)
	}
	sick := clusterState{Health: "node n2: offline"}
	sick.Leader = "n1"
	for name, refused := range map[string]struct {
		state    clusterState
		args     []string
		replaced string
		want     string
	}{
		"one more node":      {healthy, []string{"n4", "d:1"}, "", "has four nodes"},
		"an unknown address": {healthy, []string{"n4", "d:1"}, "x:1", "is not in nats.cluster.routes"},
		"not an address":     {healthy, []string{"n4", "d"}, "b:1", "must be host:port"},
		"not a name":         {healthy, []string{"n 4", "d:1"}, "b:1", "must be one word"},
		"an unhealthy one":   {sick, []string{"n4", "d:1", "n5", "e:1"}, "", "not healthy"},
		"without a leader":   {clusterState{}, []string{"n4", "d:1"}, "b:1", "not healthy"},
	} {
		if _, err := addition(c, refused.state, refused.args, refused.replaced); err == nil || !strings.Contains(err.Error(), refused.want) {
			t.Errorf("%s: got %v, want %q", name, err, refused.want)
		}
	}
}
