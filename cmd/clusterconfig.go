package cmd

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"imctl/embedded"
)

// clustered reports whether the process is a node of a cluster of embedded servers.
func (c *Config) clustered() bool { return c.NATS.Embedded() && c.NATS.Cluster.Name != "" }

// cluster returns the options of the embedded server in a cluster, nil for a single server.
func (c *Config) cluster() *embedded.Cluster {
	if !c.clustered() {
		return nil
	}
	n := c.NATS.Cluster
	return &embedded.Cluster{Name: n.Name, Node: n.Node, Listen: n.Listen, Routes: n.addresses(), Secret: string(n.Secret),
		Cert: n.TLS.Cert, Key: n.TLS.Key, CA: n.TLS.CA}
}

// addresses returns the routes as host:port.
func (c ClusterConfig) addresses() []string {
	list := make([]string, len(c.Routes))
	for i, r := range c.Routes {
		list[i] = strings.TrimPrefix(r, "nats://")
	}
	return list
}

// clusterConflicts returns the settings of nats.cluster that cannot be combined.
func (c *Config) clusterConflicts() (found []conflict) {
	nats, cluster := c.NATS, c.NATS.Cluster
	files := cluster.TLS
	others := cluster.Listen != "" || len(cluster.Routes) > 0 || cluster.Secret != "" || cluster.Node != "" || files != RouteTLSConfig{}
	add := func(broken bool, key, text string) {
		if broken {
			found = append(found, conflict{"nats." + key, text})
		}
	}
	if cluster.Name == "" {
		add(others, "cluster.name", "must not be empty when another setting of nats.cluster is set")
		return found
	}
	add(!nats.Embedded(), "cluster.name", "cannot be combined with nats.url or nats.context: only embedded servers form a cluster")
	add(cluster.Listen == "", "cluster.name", "requires nats.cluster.listen")
	add(len(cluster.Routes) == 0, "cluster.name", "requires nats.cluster.routes")
	add(cluster.Secret == "", "cluster.name", "requires nats.cluster.secret: make one with imctl cluster secret")
	add((files != RouteTLSConfig{}) && (files.Cert == "" || files.Key == "" || files.CA == ""), "cluster.tls.cert",
		"requires nats.cluster.tls.key and nats.cluster.tls.ca, and they require nats.cluster.tls.cert")
	if len(found) > 0 {
		return found
	}
	return append(found, c.routeConflicts()...)
}

// routeConflicts returns what is wrong with the list of nodes.
func (c *Config) routeConflicts() (found []conflict) {
	cluster := c.NATS.Cluster
	routes := cluster.addresses()
	_, port, err := net.SplitHostPort(cluster.Listen)
	distinct := slices.Compact(slices.Sorted(slices.Values(routes)))
	text := ""
	switch n := len(routes); {
	case len(distinct) < n:
		text = "names a node twice"
	case !clusterSizeOK(n):
		text = clusterSizeProblem(n)
	case err == nil && port == "0":
		return []conflict{{"nats.cluster.listen", "must have a port: the other nodes have it in nats.cluster.routes"}}
	case !slices.ContainsFunc(routes, func(r string) bool { return isOwnRoute(cluster.Listen, r) }):
		text = fmt.Sprintf("does not contain this node, which listens on %s: list every node, this one included", cluster.Listen)
	}
	if text != "" {
		return []conflict{{"nats.cluster.routes", text}}
	}
	if replicas := c.NATS.Replicas; replicas > len(routes) {
		return []conflict{{"nats.replicas", fmt.Sprintf("must not exceed the number of nodes in nats.cluster.routes, %d", len(routes))}}
	}
	return nil
}

// clusterSizeOK reports whether a cluster may have n nodes.
func clusterSizeOK(n int) bool { return n == 3 || n == 5 }

// clusterSizeProblem returns why a cluster must not have n nodes.
func clusterSizeProblem(n int) string {
	switch n {
	case 1:
		return "has one node: leave nats.cluster.name empty for a single server, or use 3 or 5 nodes"
	case 2:
		return "has two nodes: a cluster of two stops when either of them fails; use 3 or 5 nodes"
	case 4:
		return "has four nodes: a cluster of four survives the failure of one node, like a cluster of three; use 3 or 5 nodes"
	}
	return fmt.Sprintf("has %d nodes: use 3 or 5 nodes", n)
}

// isOwnRoute reports whether a route may lead to the listener of this node. Names are not resolved: with a name, or if the
// listener has a name or all addresses of the machine, only the ports are compared.
func isOwnRoute(listen, route string) bool {
	listenHost, listenPort, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(route)
	if err != nil || port != listenPort {
		return false
	}
	a, errA := netip.ParseAddr(listenHost)
	b, errB := netip.ParseAddr(host)
	if errA != nil || errB != nil || a.IsUnspecified() {
		return true
	}
	return a == b
}

// isNode reports whether the data directory belongs to a node of a cluster, or will.
func (c *Config) isNode() (bool, error) {
	if !c.NATS.Embedded() {
		return false, nil
	}
	mode, err := embedded.Mode(c.Data)
	return c.clustered() || mode == embedded.ModeCluster, err
}

// nodeFailure returns the failure of a command that needs the node of the data directory, which does not run.
func nodeFailure(c *Config) error {
	return &failure{exitNoServer, fmt.Errorf("no server is running on data directory %s, which belongs to a node of a cluster", c.Data),
		"start the node with imctl serve, or select a running one with --data or --context: a node alone does not have the records of the cluster"}
}
