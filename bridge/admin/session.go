package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"imctl/bridge/cluster"
)

// ListSessions requests a page of the sessions. The zero value requests the first page of all sessions.
type ListSessions struct {
	User  string `json:"user,omitempty"`  // only of this user
	Node  string `json:"node,omitempty"`  // only on this node
	After string `json:"after,omitempty"` // the Next of the previous page
	Limit int    `json:"limit,omitempty"` // 1 to MaxPage; 0 is MaxPage
}

// Session is a WebSocket session. Connections to NATS are not sessions.
type Session struct {
	ID      string    `json:"id"`
	User    string    `json:"user"` // id
	Account string    `json:"account"`
	Node    string    `json:"node"`
	Address string    `json:"address"`
	Push    bool      `json:"push"` // the session requested news
	Since   time.Time `json:"since"`
}

// Sessions is a page of sessions, oldest first.
type Sessions struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next"` // cursor of the next page, "" on the last
}

// CloseSessions ends the given sessions of a user, or all its sessions and connections to NATS if none is given.
type CloseSessions struct {
	User     string   `json:"user"`
	Sessions []string `json:"sessions,omitempty"` // ids
}

func (s *Service) sessionEndpoints() []endpoint {
	const sessions = `{"sessions": [{"id", "user", "account", "node", "address", "push", "since"}], "next": cursor, "" on the last page}`
	return []endpoint{
		{"session", "list", "List a page of the sessions, oldest first",
			`{"user", "node", "after": cursor, "limit": 1 to 500}; all are optional`, sessions,
			"not_found, invalid, unavailable, failed", handler(s.listSessions)},
		{"session", "close", "End sessions of a user. The user may log in again",
			`{"user", "sessions": ids}; without ids, all sessions and NATS connections of the user end`, sessions,
			"not_found, invalid, unavailable, failed", handler(s.closeSessions)},
	}
}

// live returns the state of the running servers, or an Unavailable error.
func (s *Service) live() (Live, error) {
	if s.o.Live == nil {
		return nil, failure(Unavailable, "no server is running")
	}
	return s.o.Live, nil
}

func (s *Service) listSessions(ctx context.Context, r ListSessions) (Sessions, error) {
	live, err := s.live()
	if err != nil {
		return Sessions{}, err
	}
	after, err := parseCursor(r.After)
	if err != nil {
		return Sessions{}, err
	}
	filter := cluster.ListSessions{Node: r.Node, After: after}
	if r.User != "" {
		u, err := s.resolve(ctx, r.User)
		if err != nil {
			return Sessions{}, err
		}
		filter.User = u.ID
	}
	return fitPage(s, r.Limit, MaxPage, func(limit int) (Sessions, error) {
		filter.Limit = limit + 1 // one more, to detect whether another page follows
		found, err := live.Sessions(ctx, filter)
		if err == nil && len(found) == 0 && r.Node != "" {
			err = knownNode(ctx, live, r.Node)
		}
		if err != nil {
			return Sessions{}, err
		}
		next := ""
		if len(found) > limit {
			found = found[:limit]
			next = encodeCursor(found[limit-1].Cursor())
		}
		sessions, err := s.sessions(ctx, found)
		return Sessions{sessions, next}, err
	})
}

// knownNode returns an error that names the nodes if none of them has this id.
func knownNode(ctx context.Context, live Live, id string) error {
	nodes, err := live.Nodes(ctx)
	if err != nil {
		return err
	}
	var ids []string
	for _, n := range nodes {
		if n.ID == id {
			return nil
		}
		ids = append(ids, n.ID)
	}
	return failure(NotFound, "there is no node %q; the nodes are %s", id, strings.Join(ids, ", "))
}

// sessions returns the sessions with their accounts.
func (s *Service) sessions(ctx context.Context, found []cluster.Session) ([]Session, error) {
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.User
	}
	slices.Sort(ids)
	users, err := s.o.Store.Users.GetMany(ctx, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	sessions := make([]Session, len(found))
	for i, f := range found {
		sessions[i] = Session{ID: f.ID, User: f.User, Account: users[f.User].Account, Node: f.Node, Address: f.Address, Push: f.Push, Since: f.Since.UTC()}
	}
	return sessions, nil
}

func (s *Service) closeSessions(ctx context.Context, r CloseSessions) (Sessions, error) {
	live, err := s.live()
	if err != nil {
		return Sessions{}, err
	}
	u, unknown := s.resolve(ctx, r.User)
	if id, isID := strings.CutPrefix(r.User, "id:"); isID && errors.Is(unknown, errNoUser) {
		u.ID = id // after a restore, there may be sessions of users that no longer exist
	} else if unknown != nil {
		return Sessions{}, unknown
	}
	open, err := live.Sessions(ctx, cluster.ListSessions{User: u.ID})
	if err != nil {
		return Sessions{}, err
	}
	if unknown != nil && len(open) == 0 {
		return Sessions{}, unknown
	}
	for _, id := range r.Sessions {
		if !slices.ContainsFunc(open, func(i cluster.Session) bool { return i.ID == id }) {
			return Sessions{}, failure(NotFound, "%s has no session %q", u.Account, id)
		}
	}
	if len(r.Sessions) > 0 {
		open = slices.DeleteFunc(open, func(i cluster.Session) bool { return !slices.Contains(r.Sessions, i.ID) })
	}
	if err := live.EndSessions(ctx, u.ID, "closed by the administrator", r.Sessions...); err != nil {
		return Sessions{}, err
	}
	sessions, err := s.sessions(ctx, open)
	return Sessions{Sessions: sessions}, err
}
