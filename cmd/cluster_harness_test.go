package cmd

import (
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imctl/bridge"
	"imctl/embedded"
)

// reservePorts returns n free addresses of this machine. Nothing listens on them: the nodes of a cluster must know each
// other's addresses before they start.
func reservePorts(t testing.TB, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // after all are known, so that they differ
		addresses[i] = l.Addr().String()
	}
	return addresses
}

// inCluster returns a change of the configuration that makes a server the i-th node of a cluster.
func inCluster(routes []string, i int, secret string) func(*Config) {
	return func(c *Config) {
		c.NATS.Cluster = ClusterConfig{Name: "chat", Node: fmt.Sprint("n", i+1), Listen: routes[i], Routes: routes, Secret: Secret(secret)}
	}
}

// startCluster starts a cluster of n servers with embedded NATS in this process, and waits until all are ready. change
// can change the configuration of each.
func startCluster(t testing.TB, n int, change ...func(*Config)) bridges {
	t.Helper()
	routes, secret := reservePorts(t, n), embedded.NewClusterSecret()
	configs := make([]*Config, n)
	for i := range configs {
		configs[i] = testConfig(t, append(change, inCluster(routes, i, secret))...)
	}
	return startTogether(t, configs...)
}

// startTogether starts servers at once, since each waits for the others.
func startTogether(t testing.TB, configs ...*Config) bridges {
	t.Helper()
	all, failed := make(bridges, len(configs)), make(chan error, len(configs))
	for i, c := range configs {
		go func() {
			var err error
			if all[i], err = tryStart(t, c); err == nil {
				logOnFailure(t, all[i].log)
				all[i].mayLog = []string{"entries of the audit trail are lost"} // the last node that stops writes alone
			}
			failed <- err
		}()
	}
	for range configs {
		if err := <-failed; err != nil {
			t.Fatalf("start of a node: %v", err)
		}
	}
	return all
}

// processes is a cluster of servers in processes of their own. The users of a test are spread over them.
type processes struct {
	nodes  []*process
	routes []string
	names  []string // of the nodes; a node that takes the place of another has a name of its own
	secret string
	data   string // below it a directory for each node
	env    []string
}

// startProcesses starts a cluster of n processes that run imctl serve, and waits until all are ready.
func startProcesses(t testing.TB, n int, env ...string) *processes {
	t.Helper()
	c := &processes{routes: reservePorts(t, n), secret: embedded.NewClusterSecret(), data: t.TempDir(), env: env}
	for i := range n {
		c.names = append(c.names, fmt.Sprint("n", i+1))
	}
	for i := range n {
		c.nodes = append(c.nodes, c.launch(t, i))
	}
	for _, p := range c.nodes {
		p.awaitReady(t)
	}
	return c
}

// launch starts the process of the i-th node. The caller waits until it is ready.
func (c *processes) launch(t testing.TB, i int) *process {
	t.Helper()
	return launch(t, exec.Command("imctl", "serve", "--log.level", "debug"), c.dir(i), new(logBuffer), append(c.env, c.settings(i)...)...)
}

// restart starts the i-th node again, in place of its process, which has ended. It waits until the node is ready.
func (c *processes) restart(t testing.TB, i int) {
	t.Helper()
	c.nodes[i] = c.launch(t, i)
	c.nodes[i].awaitReady(t)
}

// settings returns the settings of the i-th node as environment variables.
func (c *processes) settings(i int) []string {
	return []string{"IMCTL_NATS_CLUSTER_NAME=chat", "IMCTL_NATS_CLUSTER_NODE=" + c.names[i], "IMCTL_NATS_CLUSTER_LISTEN=" + c.routes[i],
		"IMCTL_NATS_CLUSTER_ROUTES=" + strings.Join(c.routes, ","), "IMCTL_NATS_CLUSTER_SECRET=" + c.secret}
}

// dir returns the data directory of the i-th node.
func (c *processes) dir(i int) string { return filepath.Join(c.data, c.names[i]) }

func (c *processes) base(n int) string          { return c.nodes[n%len(c.nodes)].url }
func (c *processes) trust() *tls.Config         { return nil }
func (c *processes) services() *bridge.Services { return nil } // the servers are other processes
func (c *processes) output(t testing.TB) (all string) {
	for _, p := range c.nodes {
		all += p.output(t)
	}
	return all
}
