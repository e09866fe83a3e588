package embedded

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

const (
	// waitingEvery is how often a start logs what it waits for.
	waitingEvery = 5 * time.Second
	// leaderGrace is how long a cluster may be without a leader before its nodes count as unhealthy. An election takes up
	// to maxElection.
	leaderGrace = 4 * time.Second
	// handOverTimeout bounds the wait for new leaders before a node stops.
	handOverTimeout = 2 * time.Second
	// handOverEvery is how often the wait checks for new leaders.
	handOverEvery = 10 * time.Millisecond
)

// clusterHealthy returns nil while the node can work.
func (s *Server) clusterHealthy(ns *natsserver.Server) error {
	if !ns.JetStreamEnabled() {
		return fmt.Errorf("NATS server: JetStream is not running")
	}
	since := s.leaderless.Load()
	if since == 0 || time.Since(time.Unix(0, since)) < leaderGrace {
		return nil
	}
	return fmt.Errorf("NATS server: the cluster has no leader: %s", s.connected(ns))
}

// noteLeader notes whether the node knows the leader of the cluster.
func (s *Server) noteLeader(ns *natsserver.Server, now time.Time) {
	if s.config.cluster == nil || metaLeader(ns) != "" {
		s.leaderless.Store(0)
		return
	}
	s.leaderless.CompareAndSwap(0, now.UnixNano())
}

// metaLeader returns the name of the leader of the cluster, "" if there is none.
func metaLeader(ns *natsserver.Server) string {
	info, err := ns.Jsz(nil)
	if err != nil || info.Meta == nil {
		return ""
	}
	return info.Meta.Leader
}

// connectedNodes returns the names of the other nodes that are connected, sorted.
func connectedNodes(ns *natsserver.Server) []string {
	routes, err := ns.Routez(nil)
	if err != nil {
		return nil
	}
	var names []string
	for _, r := range routes.Routes {
		if r.RemoteName != "" && !slices.Contains(names, r.RemoteName) {
			names = append(names, r.RemoteName)
		}
	}
	slices.Sort(names)
	return names
}

// connected says how many nodes are connected to this one, for messages.
func (s *Server) connected(ns *natsserver.Server) string {
	return fmt.Sprintf("this node is connected to %d of %d others", len(connectedNodes(ns)), len(s.config.cluster.routes)-1)
}

// logWaiting logs what the start of a node waits for.
func (s *Server) logWaiting(ns *natsserver.Server, unhealthy error) {
	s.logger.Warn("waiting for the cluster", "node", s.config.name, "reason", strings.TrimPrefix(unhealthy.Error(), "NATS server: "),
		"nodes", len(s.config.cluster.routes), "connected", connectedNodes(ns), "unreachable", s.log.routes.recent())
}

// handOver hands all groups that this node leads to other nodes, so that they need no election, and waits until these
// lead.
func (s *Server) handOver(ctx context.Context) {
	ns := s.ns.Load()
	if s.config.cluster == nil || len(connectedNodes(ns)) == 0 || !transferRaftLeaders(ns) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	tick := time.NewTicker(handOverEvery)
	defer tick.Stop()
	for !s.followsAll(ns) {
		select {
		case <-ctx.Done():
			s.logger.Warn("stopping while some streams have no other leader", "node", s.config.name)
			return
		case <-tick.C:
		}
	}
}

// followsAll reports whether each group of the node has another leader.
func (s *Server) followsAll(ns *natsserver.Server) bool {
	groups := ns.Raftz(&natsserver.RaftzOptions{})
	for _, account := range *groups {
		for _, g := range account {
			if len(g.Peers) > 0 && (g.Leader == "" || g.Leader == g.ID) {
				return false
			}
		}
	}
	return true
}
