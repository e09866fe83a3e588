package admin

import (
	"context"
	"slices"
)

// Cluster is what the system account of NATS knows and does. NATSCluster is one.
type Cluster interface {
	// Status returns the state of the cluster of NATS servers.
	Status(ctx context.Context) (ClusterStatus, error)
	// Remove removes a server from the group that manages the streams, so that other servers get its replicas.
	Remove(ctx context.Context, id string) error
}

// ClusterStatus is the state of the cluster of NATS servers.
type ClusterStatus struct {
	Name   string        `json:"name"`   // "" for a single server
	Leader string        `json:"leader"` // name of the server that manages the streams, "" while there is none
	Size   int           `json:"size"`   // servers that the leader counts, 0 without a leader
	Nodes  []ClusterNode `json:"nodes"`
}

// ClusterNode is the state of one NATS server.
type ClusterNode struct {
	ID      string `json:"id"`      // in the group that manages the streams, "" if the server is not in it
	Name    string `json:"name"`    // "" if the leader has not seen the server since its own start
	Address string `json:"address"` // where other servers connect; "" if the server does not answer
	Version string `json:"version"` // of NATS; "" if the server does not answer
	Alive   bool   `json:"alive"`   // whether the server answers
	State   string `json:"state"`   // ok, or the problem
}

// Label returns the name of the node, or its id if the name is unknown.
func (n ClusterNode) Label() string {
	if n.Name == "" {
		return n.ID
	}
	return n.Name
}

// RemoveNode requests the removal of a node.
type RemoveNode struct {
	Name  string `json:"name"`            // or id
	Force bool   `json:"force,omitempty"` // even if it answers
}

func (s *Service) clusterEndpoints() []endpoint {
	return []endpoint{
		{"cluster", "status", "Show the servers of the NATS cluster", `{}`,
			`{"name", "leader", "size", "nodes": [{"id", "name", "address", "version", "alive", "state": ok, or the problem}]}`,
			"unavailable, failed", handler(s.clusterStatus)},
		{"cluster", "remove", "Remove a server that has ended from the NATS cluster", `{"name": name or id, "force": even if it answers}`,
			`{"id", "name"}`, "not_found, invalid, unavailable, failed", handler(s.removeNode)},
	}
}

func (s *Service) clusterStatus(ctx context.Context, _ struct{}) (ClusterStatus, error) {
	if s.o.Cluster == nil {
		return ClusterStatus{}, failure(Unavailable, "no server is running that may use the system account of NATS")
	}
	return s.o.Cluster.Status(ctx)
}

func (s *Service) removeNode(ctx context.Context, r RemoveNode) (ClusterNode, error) {
	status, err := s.clusterStatus(ctx, struct{}{})
	if err != nil {
		return ClusterNode{}, err
	}
	i := slices.IndexFunc(status.Nodes, func(n ClusterNode) bool { return n.Name == r.Name && r.Name != "" })
	if i < 0 { // the leader knows no name of a node that it has not seen since its own start
		i = slices.IndexFunc(status.Nodes, func(n ClusterNode) bool { return n.Name == "" && (n.ID == r.Name || n.ID == peerID(r.Name)) })
	}
	switch {
	case status.Leader == "":
		return ClusterNode{}, failure(Failed, "the cluster has no leader: start more of its nodes")
	case i < 0 || status.Nodes[i].ID == "":
		return ClusterNode{}, failure(NotFound, "the cluster has no node %q", r.Name)
	case status.Nodes[i].Alive && !r.Force:
		return ClusterNode{}, failure(Invalid, "node %q is running: stop it first", r.Name)
	}
	return status.Nodes[i], s.o.Cluster.Remove(ctx, status.Nodes[i].ID)
}

// ClusterStatus returns the state of the cluster of NATS servers. Codes: Unavailable.
func (c *Client) ClusterStatus(ctx context.Context) (ClusterStatus, error) {
	return call[ClusterStatus](ctx, c, "cluster", "status", struct{}{})
}

// RemoveNode removes a node, by its name or id, from the cluster. Codes: NotFound, Invalid if it is running and force is
// false, Unavailable.
func (c *Client) RemoveNode(ctx context.Context, name string, force bool) (ClusterNode, error) {
	return call[ClusterNode](ctx, c, "cluster", "remove", RemoveNode{name, force})
}
