package bridge

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/wire"
)

// execute carries out what a node, maybe this one, commands.
func (b *Bridge) execute(c command) report {
	switch c.Op {
	case opRoster:
		if u := b.lane(c.User).user(c.User); u != nil {
			u.apply(c.Other, c.Friend, c.Revision)
			b.pruneFriends(u)
		}
	case opFriends:
		b.befriended(c.Friends)
	case opClose:
		u := b.lane(c.User).user(c.User)
		if u == nil {
			break
		}
		for _, s := range u.list() {
			if c.closes(s) {
				s.closeWith(c.Frame, c.Code, c.Reason)
			}
		}
	case opKick:
		ctx, cancel := context.WithTimeout(context.Background(), commandWait)
		defer cancel()
		if err := b.service.kickHere(ctx, c.Name); err != nil {
			b.log.Error("close connections of NATS clients", "err", err)
		}
	case opState:
		ctx, cancel := context.WithTimeout(context.Background(), 2*commandWait)
		defer cancel()
		if err := b.checkState(ctx); err != nil {
			b.log.Error("check whether a restore is under way", "err", err)
		}
	case opClient:
		b.seenElsewhere(c.User)
	case opLog:
		b.attach()
	case opGone:
		signal(b.gone)
	case opHello:
		if c.Back {
			signal(b.back)
		}
	case opSessions:
		if c.Node != "" && c.Node != b.node.ID {
			break
		}
		if c.Joins != "" && c.Joins != b.node.ID {
			b.seenElsewhere(c.User)
		}
		return report{Sessions: pageOf(b.sessionsOf(c.User), c.After, c.Limit)}
	case opStatus:
		return report{Status: b.status()}
	}
	return report{}
}

// attach makes the event log take notice of a consumer. Where its stream can't be asked it is written nevertheless, so
// there is nothing to report.
func (b *Bridge) attach() {
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	if err := b.events.Attach(ctx); err != nil {
		b.log.Warn("count the consumers of the event log", "err", err)
	}
}

// LogAttached makes the event log of every node take notice of a consumer that was made. Every dialogue that is sent
// after it returned, and answered 200, is in the log.
func (s *Service) LogAttached(ctx context.Context) error {
	_, err := s.nodes.tell(ctx, command{Op: opLog})
	return err
}

// sessionsOf lists the sessions of a user on this node, or of everybody for "".
func (b *Bridge) sessionsOf(user string) (infos []SessionInfo) {
	if user != "" {
		if u := b.lane(user).user(user); u != nil {
			for _, s := range u.list() {
				infos = append(infos, s.info())
			}
		}
		return infos
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.sessions {
		infos = append(infos, s.info())
	}
	return infos
}

func (s *session) info() SessionInfo {
	return SessionInfo{ID: s.id, User: s.user.id, Node: s.bridge.node.ID, Since: s.since, Address: s.address, Push: s.push}
}

// turnWait bounds how long a login waits for other nodes to say which sessions its user has there. One that does not
// answer keeps nobody from logging in.
const turnWait = time.Second

// everywhere lists the sessions of a user on all nodes that answer.
func (b *Bridge) everywhere(ctx context.Context, user string) (all []SessionInfo) {
	nodes := b.service.nodes
	if nodes.alone.Load() {
		return b.sessionsOf(user)
	}
	ctx, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	reports, err := nodes.tell(ctx, command{Op: opSessions, User: user, Joins: b.node.ID})
	if err != nil {
		b.log.Warn("ask other nodes for a user's sessions", "user", user, "err", err)
	}
	if len(reports) == 0 { // not even this one was asked
		return b.sessionsOf(user)
	}
	for _, r := range reports {
		all = append(all, r.Sessions...)
	}
	return all
}

// takeTurn makes a session that is about to be younger than all those that its user has: clocks of nodes differ, and
// it is the oldest that gives way.
func (b *Bridge) takeTurn(ctx context.Context, s *session, user string) {
	if b.service.nodes.alone.Load() {
		return
	}
	for _, other := range b.everywhere(ctx, user) {
		if !s.since.After(other.Since) {
			s.since = other.Since.Add(time.Microsecond)
		}
	}
}

// giveWay ends the oldest sessions of the user that the new one belongs to, wherever they are, when there are too many.
// It reports whether the user has sessions on other nodes.
func (b *Bridge) giveWay(ctx context.Context, s *session) (elsewhere bool) {
	all := b.everywhere(ctx, s.user.id)
	elsewhere = slices.ContainsFunc(all, func(i SessionInfo) bool { return i.Node != b.node.ID })
	limit := b.o.Sessions.PerUser
	if limit <= 0 || len(all) <= limit {
		return elsewhere
	}
	slices.SortFunc(all, oldestFirst)
	c := command{Op: opClose, User: s.user.id, Frame: wire.AppendReply(nil, wire.LoginElsewhere, nil),
		Code: websocket.ClosePolicyViolation, Reason: "login in other place"}
	here := true
	for _, old := range all[:len(all)-limit] {
		c.Sessions = append(c.Sessions, old.ID)
		here = here && old.Node == b.node.ID
	}
	if here {
		b.execute(c)
		return elsewhere
	}
	ctx, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	if _, err := b.service.nodes.tell(ctx, c); err != nil {
		b.log.Warn("end a user's oldest sessions", "user", s.user.id, "err", err)
	}
	return elsewhere
}

// oldestFirst orders sessions in the same way on every node.
func oldestFirst(x, y SessionInfo) int {
	return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.ID, y.ID))
}

// CloseSessions ends sessions of a user on whatever node they are: those named, or all.
func (s *Service) CloseSessions(ctx context.Context, user, reason string, ids ...string) error {
	_, err := s.nodes.tell(ctx, command{Op: opClose, User: user, Sessions: ids, Code: websocket.ClosePolicyViolation, Reason: reason})
	return err
}
