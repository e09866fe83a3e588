package im

import (
	"context"
	"errors"

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

// Registration returns which clients may register. The default is RegistrationOpen.
func (a *Accounts) Registration() Registration {
	mode, _ := a.mode.Load().(Registration)
	if mode == "" {
		return RegistrationOpen
	}
	return mode
}

// RegisterClient is Register for a client. While registration needs an invite, the account and the use of the invite
// are written together. Otherwise the invite is ignored. The invite is checked first: a client without one learns
// nothing about the account, and costs no hash. Then moderators are asked, who are told the client's address.
//
// Errors: ErrNotInvited, the code of a moderator's refusal, and those of Register.
func (a *Accounts) RegisterClient(ctx context.Context, u kv.User, password, invite, address string) (kv.User, error) {
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
	if a.Hooks != nil {
		if err := a.Hooks.Register(u.Account, u.Name, address); err != nil {
			return kv.User{}, err
		}
	}
	u, err := a.register(ctx, u, password, parts...)
	return u, notInvited(err)
}

// notInvited turns kv.ErrInvite into ErrNotInvited.
func notInvited(err error) error {
	if errors.Is(err, kv.ErrInvite) {
		return ErrNotInvited
	}
	return err
}
