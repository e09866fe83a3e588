package im

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/cluster"
)

// OwnSession is a token of a user, with the sessions that live by it.
type OwnSession struct {
	ID      string    // the beginning of the token's hash; it gives no access
	Issued  time.Time // when the token was issued; for an expired token, when its session began
	Expires time.Time // when the token expires; zero for an expired token
	Address string    // of the client at the login; "" if unknown
	Agent   string    // User-Agent of the client at the login; "" if unknown
	Online  bool      // a session lives by it
	Current bool      // it is the caller's
}

// ownSessionID is the length of OwnSession.ID.
const ownSessionID = 16

// OwnSessions lists the valid tokens of a user, the oldest first, and the sessions whose token has expired. current is
// the hash of the caller's token, "" for a NATS client.
func (a *Accounts) OwnSessions(ctx context.Context, id, current string) ([]OwnSession, error) {
	tokens, err := a.Store.Tokens.List(ctx, id)
	if err != nil {
		return nil, err
	}
	var all []OwnSession
	for _, t := range tokens {
		if time.Now().Before(t.Expires) {
			all = append(all, OwnSession{ID: t.Hash[:ownSessionID], Issued: t.Issued, Expires: t.Expires, Address: t.Address, Agent: t.Agent, Current: t.Hash == current})
		}
	}
	for _, s := range a.live(ctx, id) {
		if len(s.Token) < ownSessionID {
			continue
		}
		i := slices.IndexFunc(all, func(o OwnSession) bool { return o.ID == s.Token[:ownSessionID] })
		if i < 0 { // a session outlives its token
			i = len(all)
			all = append(all, OwnSession{ID: s.Token[:ownSessionID], Issued: s.Since, Address: s.Address})
		}
		all[i].Online = true
	}
	slices.SortStableFunc(all, func(x, y OwnSession) int { return x.Issued.Compare(y.Issued) })
	return all, nil
}

// live returns the sessions of a user on the nodes that answer.
func (a *Accounts) live(ctx context.Context, id string) []cluster.Session {
	sessions, err := a.Cluster.Sessions(ctx, cluster.ListSessions{User: id})
	if err != nil {
		a.Logger.Warn("list a user's sessions on all nodes", "user", id, "err", err)
	}
	return sessions
}

// EndOwnSession revokes the token with that OwnSession.ID, and ends the sessions that live by it on all nodes. An
// unknown id is no error: the session has ended. The caller then has to disconnect the user's NATS clients.
func (a *Accounts) EndOwnSession(ctx context.Context, id, session string) error {
	var hashes []string
	tokens, err := a.Store.Tokens.List(ctx, id)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		hashes = append(hashes, t.Hash)
	}
	for _, s := range a.live(ctx, id) {
		hashes = append(hashes, s.Token)
	}
	slices.Sort(hashes)
	for _, hash := range slices.Compact(hashes) {
		if len(session) != ownSessionID || !strings.HasPrefix(hash, session) {
			continue
		}
		if err := a.Store.Tokens.RevokeHash(ctx, id, hash); err != nil {
			return err
		}
		if err := a.endPushOf(ctx, id, tokens, hash); err != nil {
			return err
		}
		if err := a.endToken(ctx, id, hash, websocket.ClosePolicyViolation, "session ended"); err != nil {
			return err
		}
	}
	return nil
}

// EndOtherSessions revokes all tokens of a user except the one with the hash current, "" for none, and ends all
// sessions that do not live by that one, on all nodes. The caller then has to disconnect the user's NATS clients.
func (a *Accounts) EndOtherSessions(ctx context.Context, id, current string) error {
	return a.endOthers(ctx, id, current, "session ended")
}
