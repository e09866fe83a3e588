package cluster

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Session describes a session of a user on a node.
type Session struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Node    string    `json:"node"`
	Since   time.Time `json:"since"`
	Address string    `json:"address"`
	Push    bool      `json:"push"`
}

// SessionCursor is the position of a session in the list of all sessions, which is ordered by their beginning.
type SessionCursor struct {
	Since time.Time `json:"since"`
	ID    string    `json:"id"`
}

// OldestFirst orders sessions, in the same way on every node.
func OldestFirst(x, y Session) int {
	return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.ID, y.ID))
}

// Page sorts sessions, oldest first, and returns those after the cursor, at most limit. A limit of 0 returns all.
func Page(all []Session, after SessionCursor, limit int) []Session {
	if after.ID != "" {
		all = slices.DeleteFunc(all, func(s Session) bool { return OldestFirst(s, Session{Since: after.Since, ID: after.ID}) <= 0 })
	}
	slices.SortFunc(all, OldestFirst)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}

// Sessions lists sessions on all nodes, oldest first. With an error it returns the sessions of the nodes that answered.
func (c *Cluster) Sessions(ctx context.Context, query ListSessions) ([]Session, error) {
	reports, err := c.broadcast(ctx, query)
	var all []Session
	for _, r := range reports {
		all = append(all, r.Sessions...)
	}
	return Page(all, query.After, query.Limit), err
}
