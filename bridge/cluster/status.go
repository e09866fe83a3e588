package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"imctl/bridge/governor"
	"imctl/kv"
)

// NodeStatus is the state of a node.
type NodeStatus struct {
	kv.Node
	Sessions int    `json:"sessions"`
	Users    int    `json:"users"`          // online on the node
	State    string `json:"state"`          // StateOK, or what is wrong
	NATS     string `json:"nats,omitempty"` // name of the external NATS server that the node is connected to
	// Limited are the sources that reached limits on the node in the last hour.
	Limited []governor.Limited `json:"limited,omitempty"`
	// Hooks are the hooks that moderators do not answer, and Auth the modes of auth.modes that cannot check passwords: a
	// line each.
	Hooks []string `json:"hooks,omitempty"`
	Auth  []string `json:"auth,omitempty"`
	// Load is nil for a node of a version that does not tell it.
	Load *Load `json:"load,omitempty"`
}

// StateOK is the state of a node that serves users.
const StateOK = "ok"

// Nodes returns the state of all nodes, by the time of their start. A node that is on the list and does not answer has
// that as its state. Each has its protocol, 1 for a node of a version that announces none.
func (c *Cluster) Nodes(ctx context.Context) ([]NodeStatus, error) {
	reports, failed := c.ask(ctx, status{})
	var all []NodeStatus
	for _, r := range reports {
		if r.Status != nil {
			all = append(all, *r.Status)
		}
	}
	listed, err := c.list.List(ctx) // after the command, which strikes crashed nodes off the list
	if err != nil {
		return nil, fmt.Errorf("nodes: %w", cmp.Or(failed, err))
	}
	for _, n := range listed {
		if !slices.ContainsFunc(all, func(s NodeStatus) bool { return s.ID == n.ID }) {
			all = append(all, NodeStatus{Node: n, State: "does not answer"})
		}
	}
	for i := range all {
		all[i].Protocol = max(all[i].Protocol, 1) // older versions do not tell it
	}
	slices.SortFunc(all, func(x, y NodeStatus) int { return cmp.Or(x.Started.Compare(y.Started), cmp.Compare(x.ID, y.ID)) })
	return all, nil
}
