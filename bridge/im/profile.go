package im

import (
	"context"

	"imctl/bridge/cluster"
	"imctl/bridge/eventlog"
	"imctl/bridge/wire"
	"imctl/kv"
)

// ProfileUpdate is what a user changes of its account.
type ProfileUpdate struct {
	Password, Mail *string // nil: unchanged
	Proof          Proof   // needed for a new password and for another mail address
	// SetProfile changes the profile. An empty name becomes the account.
	SetProfile func(*wire.ProfileFields)
}

// UpdateProfile applies the update, and shows the new profile to friends. With a new password it also revokes all tokens
// but that of the proof, and ends the sessions that live by them. The caller then has to disconnect the user's NATS
// clients. A NATS client that made the call must be able to read the answer before that. If the server sends mail, a
// new address has to be verified, and the old one gets a note.
//
// Errors: wire.SignInElsewhere for a password of a user of another system; wire.WrongCredentials without a proof that is
// needed; kv.ErrUserNotFound, kv.ErrPasswordTooLong,
// kv.ErrPasswordTooShort, kv.ErrBusy, kv.ErrReadOnly.
func (a *Accounts) UpdateProfile(ctx context.Context, me kv.User, update ProfileUpdate) error {
	if update.Password != nil && me.External.Source != "" {
		return wire.SignInElsewhere
	}
	newMail := update.Mail != nil && *update.Mail != me.Mail
	needsProof, proven := update.Password != nil || newMail, ""
	if needsProof {
		var err error
		if proven, err = a.prove(ctx, me, update.Proof); err != nil {
			return err
		}
	}
	hash := ""
	if update.Password != nil {
		err := a.Hasher.Check(*update.Password)
		if err != nil {
			return err
		}
		if hash, err = a.Hasher.Hash(ctx, *update.Password); err != nil {
			return err
		}
	}
	now, err := a.Store.Users.Update(ctx, me.ID, func(u *kv.User) error {
		if update.Password != nil && u.External.Source != "" {
			return wire.SignInElsewhere
		}
		if needsProof && u.PasswordHash != proven { // another call has changed the password
			return wire.WrongCredentials
		}
		if hash != "" {
			u.PasswordHash = hash
		}
		update.SetProfile((*wire.ProfileFields)(&u.Profile))
		if u.Name == "" {
			u.Name = u.Account
		}
		if newMail {
			u.Mail, u.MailUnverified = *update.Mail, a.mail != nil
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
	if hash != "" || newMail {
		// A code for a forgotten password belongs to the old password and the old address.
		if err := a.Store.Resets.Remove(ctx, me.ID); err != nil {
			return err
		}
	}
	if hash != "" {
		a.note(me, PasswordChanged)
		if err := a.expelOthers(ctx, me.ID, update.Proof.Token.Hash); err != nil {
			return err
		}
	}
	if newMail {
		a.note(me, MailChanged)
		a.sendCode(now)
	}
	if now.Profile == me.Profile {
		return nil
	}
	return a.showProfile(ctx, now)
}

// showProfile shows a user's new profile to its friends.
func (a *Accounts) showProfile(ctx context.Context, u kv.User) error {
	if err := a.Cluster.Broadcast(ctx, cluster.ProfileChanged{User: u.ID}); err != nil {
		return err
	}
	roster, _, err := a.Store.Rosters.Get(ctx, u.ID)
	if err != nil {
		return err
	}
	frame := wire.AppendRefresh(nil, ProfileOf(withAddress(u)))
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
