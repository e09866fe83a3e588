package tunnel

import (
	"context"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/cluster"
	"imctl/bridge/wire"
)

// of returns the sessions of a user on this node that have not left.
func (t *Tunnel) of(user string) (sessions []*Session) {
	u := t.opts.Lanes.User(user)
	if u == nil {
		return nil
	}
	for _, sink := range u.Sinks() {
		if s, ok := sink.(*Session); ok {
			sessions = append(sessions, s)
		}
	}
	return sessions
}

// CloseSessions closes the sessions on this node that c selects. A command that selects all sessions, or all but those
// of one token, drops the user's tickets too, which stand for sessions to come.
func (t *Tunnel) CloseSessions(c cluster.CloseSessions) {
	if len(c.IDs) == 0 && c.Token == "" {
		t.tickets.drop(c.User)
	}
	for _, s := range t.of(c.User) {
		token, _ := s.boundToken()
		if (len(c.IDs) == 0 || slices.Contains(c.IDs, s.id)) &&
			(c.Token == "" || c.Token == token) && (c.KeepToken == "" || c.KeepToken != token) {
			s.closeWith(c.Frame, c.Code, c.Reason)
		}
	}
}

// List returns the sessions of a user on this node, or of all users for "".
func (t *Tunnel) List(user string) (all []cluster.Session) {
	sessions := t.of(user)
	if user == "" {
		sessions = t.all()
	}
	for _, s := range sessions {
		all = append(all, s.info())
	}
	return all
}

// listTimeout bounds how long a login waits for the other nodes. A node that does not answer must not delay logins.
const listTimeout = time.Second

// everywhere returns the sessions of a user on all nodes that answer.
func (t *Tunnel) everywhere(ctx context.Context, user string) []cluster.Session {
	if t.opts.Cluster.Alone() {
		return t.List(user)
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	all, err := t.opts.Cluster.Sessions(ctx, cluster.ListSessions{User: user, Joins: t.opts.Node})
	if err != nil {
		t.opts.Logger.Warn("list a user's sessions on other nodes", "user", user, "err", err)
		if len(all) == 0 {
			return t.List(user)
		}
	}
	return all
}

// makeYoungest makes a new session younger than all others of its user: the oldest give way, and the clocks of nodes
// differ.
func (t *Tunnel) makeYoungest(ctx context.Context, s *Session, user string) {
	if t.opts.Cluster.Alone() {
		return
	}
	for _, other := range t.everywhere(ctx, user) {
		if !s.since.After(other.Since) {
			s.since = other.Since.Add(time.Microsecond)
		}
	}
}

// limitSessions ends the user's oldest sessions, on all nodes, if it has too many with the new one. It reports whether
// the user has sessions on other nodes, and whether one of these is older: of sessions that begin on several nodes at
// once, one is the oldest.
func (t *Tunnel) limitSessions(ctx context.Context, s *Session) (elsewhere, older bool) {
	all := t.everywhere(ctx, s.user())
	slices.SortFunc(all, cluster.OldestFirst)
	for _, i := range all {
		if i.ID == s.id {
			break
		}
		older = older || i.Node != t.opts.Node
	}
	elsewhere = slices.ContainsFunc(all, func(i cluster.Session) bool { return i.Node != t.opts.Node })
	limit := t.opts.Sessions.PerUser
	if limit <= 0 || len(all) <= limit {
		return elsewhere, older
	}
	c := cluster.CloseSessions{User: s.user(), Frame: wire.AppendReply(nil, wire.LoginElsewhere, nil),
		Code: websocket.ClosePolicyViolation, Reason: "login in other place"}
	here := true
	for _, old := range all[:len(all)-limit] {
		c.IDs = append(c.IDs, old.ID)
		here = here && old.Node == t.opts.Node
	}
	if here {
		t.CloseSessions(c)
		return elsewhere, older
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	if err := t.opts.Cluster.Tell(ctx, c); err != nil {
		t.opts.Logger.Warn("end a user's oldest sessions", "user", s.user(), "err", err)
	}
	return elsewhere, older
}
