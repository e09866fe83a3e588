package tunnel

import (
	"context"
	"errors"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"

	"imctl/bridge/delivery"
	"imctl/kv"
)

// concurrentReloads bounds the users that are reloaded at once.
const concurrentReloads = 32

// ReloadAll reloads the accounts, tokens and rosters of all users of this node, and ends the sessions of disabled
// accounts and revoked tokens. A node needs it when it may have missed commands. They may have dropped any ticket.
func (t *Tunnel) ReloadAll(ctx context.Context) error {
	t.tickets.drop("")
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentReloads)
	for _, u := range t.opts.Lanes.Users() {
		g.Go(func() error { return t.reload(ctx, u) })
	}
	return g.Wait()
}

func (t *Tunnel) reload(ctx context.Context, u *delivery.User) error {
	account, err := t.opts.Store.Users.Get(ctx, u.ID())
	if errors.Is(err, kv.ErrUserNotFound) || err == nil && account.Disabled {
		for _, s := range t.of(u.ID()) {
			s.closeWith(nil, websocket.ClosePolicyViolation, "account disabled")
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range t.of(u.ID()) {
		if err := t.checkToken(ctx, s); err != nil {
			return err
		}
	}
	return t.ReloadRoster(ctx, u)
}

// ReloadRoster reloads the roster of a user.
func (t *Tunnel) ReloadRoster(ctx context.Context, u *delivery.User) error {
	roster, revision, err := t.opts.Store.Rosters.Get(ctx, u.ID())
	if err != nil {
		return err
	}
	u.LoadRoster(roster, revision)
	return nil
}

// checkToken ends a session whose token is revoked. A session whose token has expired stays.
func (t *Tunnel) checkToken(ctx context.Context, s *Session) error {
	token, until := s.boundToken()
	if token == "" || !time.Now().Before(until) {
		return nil
	}
	good, err := t.opts.Store.Tokens.ValidHash(ctx, s.user(), token)
	if err == nil && !good && time.Now().Before(until) {
		s.closeWith(nil, websocket.ClosePolicyViolation, "token revoked")
	}
	return err
}
