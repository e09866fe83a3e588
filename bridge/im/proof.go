package im

import (
	"context"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// FreshLogin is how long after a login with the password its token is a proof that the caller knows the password.
const FreshLogin = 10 * time.Minute

// Proof shows that a caller knows the password of its account. A token alone does not: it may be stolen, and is renewed
// without the password.
type Proof struct {
	Password *string      // what the caller says is its password; nil: nothing
	Token    kv.TokenInfo // of the call; zero for a NATS client
	Owner    string       // name of the gateway that calls; "" for none. It proves that the user is its own
}

// prove returns nil if p has the password of the user, or no password and a token of a fresh login. For a user of another
// system, the password is what the user logs in with. hash is the password's
// hash that the proof is for: the caller checks that the user still has it.
//
// Errors: wire.WrongCredentials, kv.ErrBusy.
func (a *Accounts) prove(ctx context.Context, me kv.User, p Proof) (hash string, err error) {
	if p.Owner != "" && p.Owner == me.Gateway {
		return me.PasswordHash, nil
	}
	if p.Password == nil {
		if p.Token.FreshLogin(FreshLogin) {
			return me.PasswordHash, nil
		}
		return "", wire.WrongCredentials
	}
	if a.identity.Modes != nil {
		u, err := a.authenticate(ctx, me, me.Account, *p.Password)
		if err == nil && u.ID != me.ID {
			err = wire.WrongCredentials
		}
		return u.PasswordHash, err
	}
	me, v, err := a.verify(ctx, me, *p.Password)
	if err == nil && !v.OK {
		err = wire.WrongCredentials
	}
	return me.PasswordHash, err
}
