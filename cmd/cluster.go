package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/natsutil"
	"imctl/embedded"
)

func newCluster(env *Env) *cobra.Command {
	group := newGroup("cluster", "Administer the cluster of NATS servers",
		newClusterStatus(env),
		newClusterAdd(env),
		newClusterRemove(env),
		newClusterSecret(env),
	)
	group.Long = `Administer the cluster of NATS servers: nodes with an embedded server, or the servers that imctl is attached
to. A node is an imctl server with the settings of nats.cluster. docs/cluster.md has the steps.`
	return group
}

// clusterState is the state of the cluster and of its streams.
type clusterState struct {
	admin.ClusterStatus
	Health  string            `json:"health"` // ok, or the problems
	Streams []clusteredStream `json:"streams"`
}

// clusteredStream is where the replicas of a stream are.
type clusteredStream struct {
	Name     string   `json:"name"`
	Leader   string   `json:"leader"`
	Replicas int      `json:"replicas"` // that it should have
	Current  int      `json:"current"`  // that are up to date, the leader included
	Lag      uint64   `json:"lag"`      // of the replica that is furthest behind
	Problems []string `json:"problems"`
}

func newClusterStatus(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, leaders and replicas of the cluster",
		Long: `Show the NATS servers of the cluster, which of them leads it, and the leader and the replicas of each stream.

Exit with 1 if a node is missing, or a stream has no leader or a replica that is not current.`,
		Example: "  imctl cluster status\n  imctl cluster status -o json | jq .health",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				state, err := readCluster(ctx, s)
				if err != nil {
					return err
				}
				write := writeCluster
				if output.json() {
					write = func(env *Env, state clusterState) error { return writeJSON(env.Out, state) }
				}
				if err = write(env, state); err == nil && state.Health != "ok" {
					err = &failure{code: exitFailed, err: errors.New(state.Health)}
				}
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// readCluster reads the state of the cluster. Without a leader NATS does not tell where the streams are.
func readCluster(ctx context.Context, s *adminConn) (state clusterState, err error) {
	state.Streams = []clusteredStream{}
	if state.ClusterStatus, err = s.ClusterStatus(ctx); err != nil {
		return state, err
	}
	var problems []string
	offline := make(map[string]bool)
	for _, n := range state.Nodes {
		if offline[n.Label()] = !n.Alive; n.State != "ok" {
			problems = append(problems, fmt.Sprintf("node %s: %s", n.Label(), n.State))
		}
	}
	switch {
	case state.Name == "":
	case state.Leader == "":
		problems = append(problems, "the cluster has no leader: start more of its nodes")
	default:
		if state.Streams, err = clusteredStreams(ctx, s, offline); err != nil {
			return state, err
		}
	}
	for _, stream := range state.Streams {
		for _, p := range stream.Problems {
			problems = append(problems, fmt.Sprintf("stream %s: %s", stream.Name, p))
		}
	}
	state.Health = "ok"
	if len(problems) > 0 {
		state.Health = strings.Join(problems, "; ")
	}
	return state, nil
}

// clusteredStreams returns where the streams are. offline are the names of nodes that are known to be offline.
func clusteredStreams(ctx context.Context, s *adminConn, offline map[string]bool) (all []clusteredStream, err error) {
	js, err := natsutil.JetStream(s.nc)
	if err != nil {
		return nil, err
	}
	streams, err := readStreams(ctx, js, s.config.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	for _, known := range streams {
		if known.State == "missing" {
			all = append(all, clusteredStream{Name: known.Name, Problems: []string{"missing"}})
			continue
		}
		asked, cancel := context.WithTimeout(ctx, connectTimeout)
		stream, err := js.Stream(asked, known.Name)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", known.Name, err)
		}
		all = append(all, placement(stream.CachedInfo(), offline))
	}
	return all, nil
}

// placement returns where a stream is. A replica on an offline node is no problem of its own.
func placement(i *jetstream.StreamInfo, offline map[string]bool) clusteredStream {
	s := clusteredStream{Name: i.Config.Name, Replicas: i.Config.Replicas, Problems: []string{}}
	if i.Cluster == nil {
		s.Current = 1
		return s
	}
	if s.Leader = i.Cluster.Leader; s.Leader == "" {
		s.Problems = append(s.Problems, "no leader")
	} else {
		s.Current = 1
	}
	for _, p := range i.Cluster.Replicas {
		s.Lag = max(s.Lag, p.Lag)
		switch name := admin.PeerLabel(p.Name); {
		case offline[name]:
		case p.Offline:
			s.Problems = append(s.Problems, name+" is offline")
		case !p.Current && p.Lag == 0:
			s.Problems = append(s.Problems, name+" is not current")
		case !p.Current:
			s.Problems = append(s.Problems, fmt.Sprintf("%s lags by %d", name, p.Lag))
		default:
			s.Current++
		}
	}
	if missing := s.Replicas - 1 - len(i.Cluster.Replicas); missing > 0 {
		s.Problems = append(s.Problems, plural(missing, "replica")+" missing")
	}
	return s
}

func writeCluster(env *Env, state clusterState) error {
	err := writeFields(env.Out, [][]string{{"health", state.Health}, {"cluster", orDash(state.Name)}, {"leader", orDash(state.Leader)}})
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	var rows [][]string
	for _, n := range state.Nodes {
		rows = append(rows, []string{n.Label(), orDash(n.Address), orDash(n.Version), n.State})
	}
	if err := newTable(env.Out, "node", "address", "nats", "state").write(rows...); err != nil {
		return err
	}
	if len(state.Streams) == 0 {
		return nil
	}
	fmt.Fprintln(env.Out)
	rows = nil
	for _, s := range state.Streams {
		rows = append(rows, []string{s.Name, orDash(s.Leader), fmt.Sprintf("%d of %d", s.Current, s.Replicas), fmt.Sprint(s.Lag)})
	}
	return newTable(env.Out, "stream", "leader", "current", "lag").write(rows...)
}

func newClusterRemove(env *Env) *cobra.Command {
	force := false
	c := &cobra.Command{
		Use:   "remove NODE",
		Short: "Remove a node that has ended, so that a new node gets its replicas",
		Long: `Remove NODE, a name or an id that the status shows, from the cluster. Other nodes get its replicas, at the
latest when a new node joins. The removed node must not come back with its data: start it with a new name and
an empty data directory.

A node that only restarts, or comes back with an empty disk under its old name, need not be removed.
Exit with 3 if the cluster has no such node, and with 2 if it is running.`,
		Example: "  imctl cluster remove im2-5f0c11aa",
		Args:    exactArgs("NODE"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				if _, err := client.RemoveNode(ctx, args[0], force); err != nil {
					return err
				}
				_, err := fmt.Fprintf(env.Out, "removed node %s\n", args[0])
				return err
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "remove the node although it is running")
	addServerFlags(c)
	return c
}

func newClusterSecret(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "secret",
		Short:   "Print a new secret for nats.cluster.secret",
		Long:    `Print a new random secret for nats.cluster.secret. All nodes of a cluster have the same secret.`,
		Example: "  imctl cluster secret > cluster.secret",
		Args:    maxArgs(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Out, embedded.NewClusterSecret())
			return err
		},
	}
}
