package im

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// ResetCodeLife is how long a code for a forgotten password is valid.
const ResetCodeLife = 15 * time.Minute

// resetTries is how often a code may be tried.
const resetTries = 10

// Resets are codes for forgotten passwords: a user asks for a code, gets it by mail, and sets a new password with it.
type Resets struct{ accounts *Accounts }

// NewResets returns codes for the passwords of accounts.
func NewResets(accounts *Accounts) *Resets { return &Resets{accounts} }

// NewCode creates a code for the user with that account and mail address, and stores its hash. It returns "" if there
// is no such user, if the user signs in elsewhere, if the address is not verified, or if allow refuses the user's id. The hash is that of a password: finding the code from it takes
// longer than the code is valid. NewCode computes it in any case, so that the load of the machine does not tell whether
// the user exists.
func (r *Resets) NewCode(ctx context.Context, account, mail string, allow func(user string) bool) (kv.User, string, error) {
	code := newResetCode()
	a := r.accounts
	hash, err := a.Hasher.Hash(ctx, code)
	if err != nil {
		return kv.User{}, "", err
	}
	u, err := a.Store.Users.ByAccount(ctx, account)
	if errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, "", nil
	}
	if err != nil {
		return kv.User{}, "", err
	}
	if u.Disabled || u.External.Source != "" || u.MailUnverified || kv.FoldAccount(u.Mail) != kv.FoldAccount(mail) || !allow(u.ID) {
		return u, "", nil
	}
	return u, formatResetCode(code), a.Store.Resets.Put(ctx, u.ID, hash, ResetCodeLife, resetTries)
}

// ResetPassword sets a new password if the code is that of the account, and uses the code up. It revokes the user's
// tokens and ends its sessions. It checks the password first, whether or not the code is right.
//
// Errors: wire.WrongCredentials for an unknown account and a wrong, used or expired code alike; kv.ErrPasswordTooLong,
// kv.ErrPasswordTooShort, kv.ErrBusy, kv.ErrReadOnly.
func (r *Resets) ResetPassword(ctx context.Context, account, code, password string) error {
	a := r.accounts
	if err := a.Hasher.Check(password); err != nil {
		return err
	}
	u, err := a.Store.Users.ByAccount(ctx, account)
	if err != nil && !errors.Is(err, kv.ErrUserNotFound) {
		return err
	}
	id := u.ID
	if err != nil || u.Disabled || u.External.Source != "" {
		id = kv.NewID() // of no user: the read costs the same
	}
	// Without a code, stored is empty. Verify then takes as long, and refuses.
	stored, err := a.Store.Resets.Try(ctx, id)
	if err != nil && !errors.Is(err, kv.ErrNoReset) {
		return err
	}
	v, err := a.Hasher.Verify(ctx, stored, parseResetCode(code))
	if err != nil {
		return err
	}
	if !v.OK {
		return wire.WrongCredentials
	}
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	if err := a.Store.Resets.Use(ctx, u.ID, stored); errors.Is(err, kv.ErrNoReset) {
		return wire.WrongCredentials // a concurrent call has used it
	} else if err != nil {
		return err
	}
	return a.setHash(ctx, u.ID, hash)
}

// resetAlphabet has 32 characters, so that each stands for 5 bits, and none that looks like another.
const resetAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// newResetCode returns 40 random bits.
func newResetCode() string {
	var b [8]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = resetAlphabet[b[i]%32]
	}
	return string(b[:])
}

// formatResetCode returns a code as it is shown: two groups of four characters.
func formatResetCode(code string) string { return code[:4] + "-" + code[4:] }

// parseResetCode returns the code that a user typed, in any case and with any hyphens and spaces.
func parseResetCode(code string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(code))
}
