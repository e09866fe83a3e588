package cluster

import (
	"context"
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
	Token   string    `json:"token_hash,omitempty"` // of the token that the session lives by; older nodes do not tell it
}

// Cursor returns the session's position in the list of all sessions, which is ordered by their beginning.
func (s Session) Cursor() Cursor { return Cursor{s.Since, s.ID} }

// OldestFirst orders sessions, in the same way on every node.
func OldestFirst(x, y Session) int { return x.Cursor().Compare(y.Cursor()) }

// Sessions lists sessions on all nodes, oldest first. With an error it returns the sessions of the nodes that answered.
func (c *Cluster) Sessions(ctx context.Context, query ListSessions) ([]Session, error) {
	reports, err := c.ask(ctx, query)
	var all []Session
	for _, r := range reports {
		all = append(all, r.Sessions...)
	}
	page, _ := Page(all, query.After, query.Limit, Session.Cursor)
	return page, err
}
