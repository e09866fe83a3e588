package bridge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"imctl/kv"
)

// SessionCursor is the place of a session in the list of all: they are in the order in which they began.
type SessionCursor struct {
	Since time.Time `json:"since"`
	ID    string    `json:"id"`
}

// Cursor is the session's place.
func (i SessionInfo) Cursor() SessionCursor { return SessionCursor{i.Since, i.ID} }

// SessionFilter says which sessions are listed. The zero value asks for the first of all.
type SessionFilter struct {
	User  string        // id; "" for everybody
	Node  string        // id; "" for all
	After SessionCursor // where the page before ended
	Limit int           // 0: no limit. All sessions of everybody may be more than a message holds.
}

// pageOf sorts sessions, and takes those behind the cursor, limit at most.
func pageOf(all []SessionInfo, after SessionCursor, limit int) []SessionInfo {
	if after.ID != "" {
		all = slices.DeleteFunc(all, func(i SessionInfo) bool { return oldestFirst(i, SessionInfo{Since: after.Since, ID: after.ID}) <= 0 })
	}
	slices.SortFunc(all, oldestFirst)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}

// Sessions lists sessions on all nodes, oldest first.
func (s *Service) Sessions(ctx context.Context, f SessionFilter) ([]SessionInfo, error) {
	reports, err := s.nodes.tell(ctx, command{Op: opSessions, User: f.User, Node: f.Node, After: f.After, Limit: f.Limit})
	if err != nil {
		return nil, err
	}
	var all []SessionInfo
	for _, r := range reports {
		all = append(all, r.Sessions...)
	}
	return pageOf(all, f.After, f.Limit), nil
}

// CountSessions is how many sessions a user has on all nodes.
func (s *Service) CountSessions(ctx context.Context, user string) (int, error) {
	all, err := s.Sessions(ctx, SessionFilter{User: user})
	return len(all), err
}

// NodeStatus is how a node is.
type NodeStatus struct {
	kv.Node
	Sessions int    `json:"sessions"`
	Users    int    `json:"users"` // online here
	State    string `json:"state"` // ok, or what is the matter
}

// stateOK is the state of what can be used.
const stateOK = "ok"

func (b *Bridge) status() *NodeStatus {
	s := &NodeStatus{Node: b.node, Sessions: b.Len(), Users: b.usersOnline(), State: stateOK}
	err := b.Ready()
	if err == nil && b.o.ReadOnly != nil {
		err = b.o.ReadOnly()
	}
	if err != nil {
		s.State = err.Error()
	}
	return s
}

// Nodes returns how all nodes are, the first that began first. One that is on the list and does not answer is there
// with that as its state.
func (s *Service) Nodes(ctx context.Context) ([]NodeStatus, error) {
	reports, told := s.nodes.tell(ctx, command{Op: opStatus})
	var all []NodeStatus
	for _, r := range reports {
		if r.Status != nil {
			all = append(all, *r.Status)
		}
	}
	listed, err := s.kv.Nodes.List(ctx) // without those that had crashed, which were struck off
	if err != nil {
		return nil, fmt.Errorf("nodes: %w", cmp.Or(told, err))
	}
	for _, n := range listed {
		if !slices.ContainsFunc(all, func(s NodeStatus) bool { return s.ID == n.ID }) {
			all = append(all, NodeStatus{Node: n, State: "does not answer"})
		}
	}
	slices.SortFunc(all, func(x, y NodeStatus) int { return cmp.Or(x.Started.Compare(y.Started), cmp.Compare(x.ID, y.ID)) })
	return all, nil
}
