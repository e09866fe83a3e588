package im

import (
	"context"
	"slices"

	"github.com/gorilla/websocket"

	"imctl/bridge/cluster"
	"imctl/kv"
)

// EndSessions ends sessions of a user on all nodes: those with the given ids, or all, together with all its connections
// to NATS. The user may log in again at once.
func (a *Accounts) EndSessions(ctx context.Context, id, reason string, sessions ...string) error {
	err := a.Cluster.Broadcast(ctx, cluster.CloseSessions{User: id, IDs: sessions, Code: websocket.ClosePolicyViolation, Reason: reason})
	if err != nil || len(sessions) > 0 {
		return err
	}
	return a.Disconnector.DisconnectUser(ctx, id)
}

// endPush removes the push subscriptions of a user for which ended returns true: their sign-in has ended.
func (a *Accounts) endPush(ctx context.Context, id string, ended func(kv.PushSubscription) bool) error {
	return a.Store.Push.RemoveWhere(ctx, id, ended)
}

// endPushOf removes the push subscriptions of the sign-ins that tokens belong to. A sign-in has more than one token if the
// first one was renewed: they have the time of the login with the password in common. all are the tokens of the user before
// the revocation.
func (a *Accounts) endPushOf(ctx context.Context, id string, all []kv.TokenInfo, hashes ...string) error {
	return a.endPush(ctx, id, func(s kv.PushSubscription) bool { return belongs(s, all, hashes...) })
}

// belongs reports whether a subscription belongs to the sign-in of one of the tokens with these hashes.
func belongs(s kv.PushSubscription, all []kv.TokenInfo, hashes ...string) bool {
	return slices.Contains(hashes, s.Token) ||
		slices.ContainsFunc(all, func(t kv.TokenInfo) bool { return slices.Contains(hashes, t.Hash) && t.FirstLogin().Equal(s.Login) })
}

// expel revokes the user's tokens and ends its sessions on every node.
func (a *Accounts) expel(ctx context.Context, id, reason string) error {
	if err := a.Store.Tokens.RevokeAll(ctx, id); err != nil {
		return err
	}
	if err := a.endPush(ctx, id, func(kv.PushSubscription) bool { return true }); err != nil {
		return err
	}
	return a.EndSessions(ctx, id, reason)
}

// expelOthers revokes all tokens of a user but one, and ends the sessions that live by them, since the password was
// changed. keep is the hash of that token, "" to keep none.
func (a *Accounts) expelOthers(ctx context.Context, id, keep string) error {
	return a.endOthers(ctx, id, keep, "password changed")
}

func (a *Accounts) endOthers(ctx context.Context, id, keep, reason string) error {
	all, err := a.Store.Tokens.List(ctx, id)
	if err != nil {
		return err
	}
	if err := a.Store.Tokens.RevokeAllBut(ctx, id, keep); err != nil {
		return err
	}
	if err := a.endPush(ctx, id, func(s kv.PushSubscription) bool { return !belongs(s, all, keep) }); err != nil {
		return err
	}
	return a.Cluster.Broadcast(ctx, cluster.CloseSessions{User: id, KeepToken: keep, Code: websocket.ClosePolicyViolation, Reason: reason})
}

// RevokeTokens revokes tokens of a user, by their hashes, and ends the sessions that live by them.
func (a *Accounts) RevokeTokens(ctx context.Context, id string, hashes ...string) error {
	all, err := a.Store.Tokens.List(ctx, id)
	if err != nil {
		return err
	}
	for _, hash := range hashes {
		if err := a.Store.Tokens.RevokeHash(ctx, id, hash); err != nil {
			return err
		}
		if err := a.endToken(ctx, id, hash, websocket.ClosePolicyViolation, "token revoked"); err != nil {
			return err
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	if err := a.endPushOf(ctx, id, all, hashes...); err != nil {
		return err
	}
	return a.Disconnector.DisconnectUser(ctx, id)
}

// Logout revokes a token and ends the sessions that live by it.
func (a *Accounts) Logout(ctx context.Context, id, token string) error {
	all, err := a.Store.Tokens.List(ctx, id)
	if err != nil {
		return err
	}
	if err := a.Store.Tokens.Revoke(ctx, id, token); err != nil {
		return err
	}
	if err := a.endPushOf(ctx, id, all, kv.TokenHash(token)); err != nil {
		return err
	}
	if err := a.endToken(ctx, id, kv.TokenHash(token), websocket.CloseNormalClosure, "logged out"); err != nil {
		return err
	}
	// NATS does not say which connection used which token. Clients with another token or the password reconnect.
	return a.Disconnector.DisconnectUser(ctx, id)
}

// endToken ends the sessions that live by a token.
func (a *Accounts) endToken(ctx context.Context, id, hash string, code int, reason string) error {
	return a.Cluster.Broadcast(ctx, cluster.CloseSessions{User: id, Token: hash, Code: code, Reason: reason})
}
