package im

import (
	"context"
	"errors"

	"imctl/bridge/eventlog"
	"imctl/kv"
)

// Registration says which clients may register.
type Registration string

// The modes of registration.
const (
	RegistrationOpen   Registration = "open"   // all
	RegistrationInvite Registration = "invite" // clients with an invite
	RegistrationClosed Registration = "closed" // none
)

// ErrNotInvited: registration is closed, or it needs an invite and the client has no valid one.
var ErrNotInvited = errors.New("registration is refused")

// SetRegistration changes which clients may register, from the next call on.
func (a *Accounts) SetRegistration(mode Registration) { a.mode.Store(mode) }

// Registration returns which clients may register. The default is RegistrationOpen. It is RegistrationClosed if the
// server keeps no passwords.
func (a *Accounts) Registration() Registration {
	if !a.HasPasswords() {
		return RegistrationClosed
	}
	mode, _ := a.mode.Load().(Registration)
	if mode == "" {
		return RegistrationOpen
	}
	return mode
}

// RegisterClient is Register for a client. While registration needs an invite, the account and the use of the invite
// are written together. Otherwise the invite is ignored. The invite is checked first: a client without one learns
// nothing about the account, and costs no hash.
//
// An account that another system knows is taken: otherwise its user could not log in any more. So is an account that only
// a gateway may register. Moderators are asked last before the account is created, and are told the client's address.
//
// Errors: wire.SignInElsewhere if the server keeps no passwords; ErrNotInvited, the code of a moderator's refusal, and
// those of Register.
func (a *Accounts) RegisterClient(ctx context.Context, u kv.User, password, invite, address string) (kv.User, error) {
	if err := a.KeepsPasswords(); err != nil {
		return kv.User{}, err
	}
	var parts []kv.Part
	switch a.Registration() {
	case RegistrationOpen:
	case RegistrationInvite:
		if _, err := a.Store.Invites.Check(ctx, invite); err != nil {
			return kv.User{}, notInvited(err)
		}
		parts = append(parts, a.Store.Invites.Use(invite))
	default:
		return kv.User{}, ErrNotInvited
	}
	if err := a.Hasher.Check(password); err != nil { // before the answer depends on the account
		return kv.User{}, err
	}
	if err := a.lookUp(ctx, u.Account); err != nil {
		return kv.User{}, err
	}
	if err := a.checkReserved(ctx, u.Account); err != nil {
		return kv.User{}, err
	}
	if a.Hooks != nil {
		if err := a.Hooks.Register(u.Account, u.Name, address); err != nil {
			return kv.User{}, err
		}
	}
	u, err := a.register(ctx, u, password, parts...)
	return u, notInvited(err)
}

// checkReserved returns kv.ErrAccountExists for an account that only a gateway may register.
func (a *Accounts) checkReserved(ctx context.Context, account string) error {
	if a.reserved == nil {
		return nil
	}
	reserved, err := a.reserved(ctx, account)
	if err == nil && reserved {
		err = kv.ErrAccountExists
	}
	return err
}

// RegisterOwned creates an account without a password, for a program with credentials of its own. No client can log in to
// it. An administrator can give it a password later.
//
// Errors: kv.ErrAccountExists, kv.ErrAccountLooksAlike, kv.ErrReadOnly, and those of the parts.
func (a *Accounts) RegisterOwned(ctx context.Context, u kv.User, parts ...kv.Part) (kv.User, error) {
	unlock, err := a.registering.Lock(ctx, kv.FoldAccount(u.Account))
	if err != nil {
		return kv.User{}, err
	}
	defer unlock()
	u.PasswordHash = ""
	u, err = a.Store.Users.Create(ctx, u, parts...)
	if err == nil {
		a.Log.User(eventlog.UserCreated, u)
	}
	return u, err
}

// SetReserved sets what reports whether only a gateway may register an account.
func (a *Accounts) SetReserved(reserved func(ctx context.Context, account string) (bool, error)) {
	a.reserved = reserved
}

// notInvited turns kv.ErrInvite into ErrNotInvited.
func notInvited(err error) error {
	if errors.Is(err, kv.ErrInvite) {
		return ErrNotInvited
	}
	return err
}
