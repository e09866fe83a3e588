package im

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// MailCodeLife is how long a code is valid that verifies an address.
const MailCodeLife = 24 * time.Hour

// A Note is a mail that tells of a change of an account.
type Note int

// The notes.
const (
	PasswordChanged Note = iota + 1
	MailChanged
)

// Mail sends mail in the background. It never waits, and a mail may be lost. mailer.Queue is one.
type Mail interface {
	// SendCode mails a code to the address of a user, which verifies it.
	SendCode(user string)
	// SendNote mails a note to an address of a user.
	SendNote(user, address string, n Note)
}

// SetMail makes the accounts send mail. It must be called before the first call that changes an account.
func (a *Accounts) SetMail(m Mail) { a.mail = m }

// note tells of a change at the address that u had before it, if that was verified: anybody can enter the address of
// another person.
func (a *Accounts) note(u kv.User, n Note) {
	if a.mail != nil && u.Mail != "" && !u.MailUnverified {
		a.mail.SendNote(u.ID, u.Mail, n)
	}
}

// sendCode mails a code that verifies the user's address, unless it is verified.
func (a *Accounts) sendCode(u kv.User) {
	if a.mail != nil && u.MailUnverified {
		a.mail.SendCode(u.ID)
	}
}

// RequestMailCode has a code mailed that verifies the user's address. It returns false if the address is verified.
func (a *Accounts) RequestMailCode(me kv.User) bool {
	a.sendCode(me)
	return me.MailUnverified
}

// NewMailCode creates a code that verifies the address of a user, stores its hash, and returns both. The code is "" if
// the user does not exist or is disabled, if the address is verified, or if allow refuses the user's id.
func (r *Resets) NewMailCode(ctx context.Context, user string, allow func(user string) bool) (address, code string, err error) {
	a := r.accounts
	u, err := a.Store.Users.Get(ctx, user)
	if errors.Is(err, kv.ErrUserNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	if u.Disabled || !u.MailUnverified || !allow(u.ID) {
		return "", "", nil
	}
	code = newResetCode()
	hash, err := a.Hasher.Hash(ctx, code)
	if err != nil {
		return "", "", err
	}
	stored := hash + " " + hashAddress(u.Mail) // a PHC string has no space
	return u.Mail, formatResetCode(code), a.Store.MailCodes.Put(ctx, u.ID, stored, MailCodeLife, resetTries)
}

// VerifyMail marks the user's address as verified if the code was mailed to it, and uses the code up. It returns nil for
// an address that is verified already.
//
// Errors: wire.WrongCredentials for a wrong, used or expired code, and for the code of another address; kv.ErrBusy,
// kv.ErrReadOnly.
func (r *Resets) VerifyMail(ctx context.Context, me kv.User, code string) error {
	if !me.MailUnverified {
		return nil
	}
	a := r.accounts
	stored, err := a.Store.MailCodes.Try(ctx, me.ID)
	if errors.Is(err, kv.ErrNoReset) {
		return wire.WrongCredentials
	}
	if err != nil {
		return err
	}
	hash, address, _ := strings.Cut(stored, " ")
	v, err := a.Hasher.Verify(ctx, hash, parseResetCode(code))
	if err != nil {
		return err
	}
	if !v.OK {
		return wire.WrongCredentials
	}
	_, err = a.Store.Users.Update(ctx, me.ID, func(u *kv.User) error {
		if hashAddress(u.Mail) != address {
			return wire.WrongCredentials
		}
		u.MailUnverified = false
		return nil
	})
	if err != nil {
		return err
	}
	return a.Store.MailCodes.Remove(ctx, me.ID)
}

// hashAddress returns a hash that binds a code to a mail address.
func hashAddress(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:])
}
