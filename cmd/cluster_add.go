package cmd

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newClusterAdd(env *Env) *cobra.Command {
	var replaced string
	c := &cobra.Command{
		Use:   "add NAME HOST:PORT [NAME HOST:PORT]",
		Short: "Print the configuration of new nodes",
		Long: `Check that the cluster is healthy, and print the configuration of new nodes and what to change on the others.
NAME is the name of the new node, and HOST:PORT is where the other nodes connect to it. The command changes
nothing. It reads nats.cluster from the configuration of this node.

With --replace, the new node takes the place of the node with that address, which has been removed. Without
it, two nodes are added to a cluster of three: a cluster has three or five nodes.`,
		Example: `  imctl cluster add im4 10.0.0.4:6222 --replace 10.0.0.2:6222
  imctl cluster add im4 10.0.0.4:6222 im5 10.0.0.5:6222`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageErrorf("missing argument NAME")
			case len(args) > 4: // a cluster grows by two nodes
				return usageErrorf("unexpected argument %q", args[4])
			case len(args)%2 != 0:
				return usageErrorf("missing argument HOST:PORT after %s", printable(args[len(args)-1]))
			case slices.Contains(args, ""):
				return usageErrorf("an argument must not be empty")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				state, err := readCluster(ctx, s)
				if err != nil {
					return err
				}
				text, err := addition(s.config, state, args, replaced)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(env.Out, text)
				return err
			})
		},
	}
	c.Flags().StringVar(&replaced, "replace", "", "`address` of the removed node that the new one replaces")
	addServerFlags(c)
	return c
}

// addition returns the text of newClusterAdd. args are name and address of each new node.
func addition(c *Config, state clusterState, args []string, replaced string) (string, error) {
	cluster := c.NATS.Cluster
	if cluster.Name == "" {
		return "", usageErrorf("the configuration has no nats.cluster: run the command on a node, with its configuration")
	}
	routes := cluster.addresses()
	if replaced != "" {
		i := slices.Index(routes, replaced)
		if i < 0 {
			return "", usageErrorf("--replace: %q is not in nats.cluster.routes", replaced)
		}
		routes = slices.Delete(routes, i, i+1)
	}
	for pair := range slices.Chunk(args, 2) {
		name, address := pair[0], pair[1]
		if err := subjectToken(name); err != nil {
			return "", usageErrorf("NAME %q %w", name, err)
		}
		if err := route(address); err != nil {
			return "", usageErrorf("HOST:PORT %q %w", address, err)
		}
		for _, n := range state.Nodes {
			if n.Name == name {
				return "", usageErrorf("the cluster has a node %q: choose another name, or remove the node with imctl cluster remove", name)
			}
		}
		routes = append(routes, address)
	}
	if !clusterSizeOK(len(routes)) {
		return "", usageErrorf("the cluster then %s", clusterSizeProblem(len(routes)))
	}
	if err := mayGrow(state, replaced != ""); err != nil {
		return "", err
	}
	list := "[" + strings.Join(routes, ", ") + "]"
	var b strings.Builder
	for pair := range slices.Chunk(args, 2) {
		_, port, err := net.SplitHostPort(pair[1])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, `# config.yaml of %[1]s. Its data directory must be empty. Set IMCTL_NATS_CLUSTER_SECRET to the secret of the
# other nodes, or nats.cluster.tls to its certificate.
nats:
  cluster:
    name: %[2]s
    node: %[1]s
    listen: 0.0.0.0:%[3]s
    routes: %[4]s

`, pair[0], cluster.Name, port, list)
	}
	fmt.Fprintf(&b, `# Then, on each other node, one after the other: change nats.cluster.routes to
#   %s
# restart it, and wait until imctl cluster status says ok.
`, list)
	return b.String(), nil
}

// mayGrow returns an error if the cluster cannot take a node now. If a node is replaced, its replicas are missing.
func mayGrow(state clusterState, replaces bool) error {
	if state.Leader == "" || !replaces && state.Health != "ok" {
		return &failure{exitFailed, fmt.Errorf("the cluster is not healthy: %s", state.Health), "see imctl cluster status"}
	}
	for _, n := range state.Nodes {
		if !n.Alive {
			return &failure{exitFailed, fmt.Errorf("node %s is %s", n.Label(), n.State), "start it, or remove it with imctl cluster remove " + n.Label()}
		}
	}
	return nil
}
