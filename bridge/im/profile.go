package im

import (
	"context"

	"imctl/bridge/eventlog"
	"imctl/bridge/wire"
	"imctl/kv"
)

// ProfileUpdate is what a user changes of its account.
type ProfileUpdate struct {
	Password, Mail *string // nil: unchanged
	// SetProfile changes the profile. An empty name becomes the account.
	SetProfile func(*wire.ProfileFields)
}

// UpdateProfile applies the update, and shows the new profile to friends. With a new password it also revokes all tokens
// but the given one ("" for none), and ends the sessions that live by them. The caller then has to disconnect the
// user's NATS clients. A NATS client that made the call must be able to read the answer before that.
//
// Errors: kv.ErrUserNotFound, kv.ErrPasswordTooLong, kv.ErrBusy, kv.ErrReadOnly.
func (a *Accounts) UpdateProfile(ctx context.Context, me kv.User, update ProfileUpdate, token string) error {
	hash := ""
	if update.Password != nil {
		var err error
		if hash, err = a.Hasher.Hash(ctx, *update.Password); err != nil {
			return err
		}
	}
	now, err := a.Store.Users.Update(ctx, me.ID, func(u *kv.User) error {
		if hash != "" {
			u.PasswordHash = hash
		}
		update.SetProfile((*wire.ProfileFields)(&u.Profile))
		if u.Name == "" {
			u.Name = u.Account
		}
		if update.Mail != nil {
			u.Mail = *update.Mail
		}
		return nil
	})
	if err != nil {
		return err
	}
	if me.PasswordHash != now.PasswordHash {
		a.Log.User(eventlog.UserPassword, now)
	}
	if me.Profile != now.Profile || me.Mail != now.Mail {
		a.Log.User(eventlog.UserUpdated, now)
	}
	if hash != "" || update.Mail != nil {
		// A code for a forgotten password belongs to the old password and the old address.
		if err := a.Store.Resets.Remove(ctx, me.ID); err != nil {
			return err
		}
	}
	if hash != "" {
		if err := a.expelOthers(ctx, me.ID, token); err != nil {
			return err
		}
	}
	if now.Profile == me.Profile {
		return nil
	}
	roster, _, err := a.Store.Rosters.Get(ctx, me.ID)
	if err != nil {
		return err
	}
	frame := wire.AppendRefresh(nil, ProfileOf(now))
	for _, f := range roster.Friends {
		if Hidden(roster, f) {
			continue
		}
		if err := a.notify(f.ID, frame); err != nil {
			return err
		}
	}
	return nil
}
