package natstest

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster is a cluster of NATS servers with JetStream in this process. Proxies carry the connections of the clients and
// the routes between the servers, so that a test can interrupt them.
type Cluster struct {
	Nodes []*ClusterNode
}

// ClusterNode is a server of a cluster. Server is nil while it is stopped.
type ClusterNode struct {
	*server.Server
	cluster *Cluster
	name    string
	dir     string
	clients *Proxy
	routes  []*Proxy // by node: from this node to that one; nil at its own index
	ports   struct{ client, route int }
}

// StartCluster starts a cluster of n servers, which end with the test. It returns when JetStream has a leader.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	for i := range n {
		c.Nodes = append(c.Nodes, &ClusterNode{cluster: c, name: fmt.Sprint("n", i), dir: t.TempDir(), clients: StartProxy(t, "")})
	}
	for i, from := range c.Nodes {
		from.routes = make([]*Proxy, n)
		for j := range c.Nodes {
			if i != j {
				from.routes[j] = StartProxy(t, "127.0.0.1:1") // no server listens there
			}
		}
		from.ports.client, from.ports.route = server.RANDOM_PORT, server.RANDOM_PORT
	}
	for _, node := range c.Nodes {
		node.start(t)
		t.Cleanup(node.Stop)
	}
	c.AwaitLeader(t)
	return c
}

// URL returns the addresses of all nodes, separated by commas.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		urls[i] = n.URL()
	}
	return strings.Join(urls, ",")
}

// AwaitLeader waits until JetStream has a leader and all running servers follow it.
func (c *Cluster) AwaitLeader(t testing.TB) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !c.led() {
		select {
		case <-deadline:
			t.Fatal("the cluster has no leader")
		case <-tick.C: // the server gives no signal
		}
	}
}

func (c *Cluster) led() bool {
	leader := false
	for _, n := range c.Nodes {
		if n.Server == nil {
			continue
		}
		if !n.JetStreamIsCurrent() {
			return false
		}
		leader = leader || n.JetStreamIsLeader()
	}
	return leader
}

// StreamLeader returns the node that leads a stream of the default account, or nil if none does.
func (c *Cluster) StreamLeader(stream string) *ClusterNode {
	for _, n := range c.Nodes {
		if n.Server != nil && n.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return n
		}
	}
	return nil
}

// URL returns the address of the node for clients, which leads through a proxy.
func (n *ClusterNode) URL() string { return "nats://" + n.clients.Addr() }

// start runs the server.
func (n *ClusterNode) start(t testing.TB) {
	t.Helper()
	var routes []*url.URL
	for _, p := range n.routes {
		if p != nil {
			routes = append(routes, &url.URL{Scheme: "nats-route", Host: p.Addr()})
		}
	}
	s, err := server.NewServer(&server.Options{
		ServerName: n.name, Host: "127.0.0.1", Port: n.ports.client, ClientAdvertise: n.clients.Addr(),
		// No server listens on the advertised address: routes lead through the proxies alone.
		Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: n.ports.route, Advertise: "127.0.0.1:1", PoolSize: -1},
		Routes:  routes, JetStream: true, StoreDir: n.dir, JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	n.Server = s
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("a NATS server did not start")
	}
	n.clients.SetTarget(s.Addr().String())
	n.ports.client, n.ports.route = portOf(s.Addr()), portOf(s.ClusterAddr())
	for _, other := range n.cluster.Nodes {
		for j, p := range other.routes {
			if p != nil && n.cluster.Nodes[j] == n {
				p.SetTarget(s.ClusterAddr().String())
			}
		}
	}
}

// Stop stops the server gracefully: it hands its leaderships over. It does nothing if the server is stopped.
func (n *ClusterNode) Stop() {
	if n.Server != nil {
		Stop(n.Server)
		n.Server = nil
	}
}

// Kill ends the server at once: its last words reach no other node and no client.
func (n *ClusterNode) Kill() {
	n.each(true, (*Proxy).Cut)
	n.Stop()
}

// Restart starts a stopped or killed server on its directory.
func (n *ClusterNode) Restart(t testing.TB) {
	t.Helper()
	n.start(t)
	n.each(true, (*Proxy).Forward)
}

// Hang makes the server look like a process that is stopped: it accepts connections and answers nothing.
func (n *ClusterNode) Hang() { n.each(true, (*Proxy).Freeze) }

// Isolate keeps the server's bytes from the other servers. Its own clients still reach it.
func (n *ClusterNode) Isolate() { n.each(false, (*Proxy).Freeze) }

// Resume ends Hang and Isolate.
func (n *ClusterNode) Resume() { n.each(true, (*Proxy).Forward) }

// each calls do with the proxies of the routes from and to the node, and of its clients.
func (n *ClusterNode) each(clients bool, do func(*Proxy)) {
	if clients {
		do(n.clients)
	}
	for j, other := range n.cluster.Nodes {
		if other == n {
			continue
		}
		do(n.routes[j])
		for k, p := range other.routes {
			if n.cluster.Nodes[k] == n {
				do(p)
			}
		}
	}
}
