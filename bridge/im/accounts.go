package im

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/eventlog"
	"imctl/bridge/wire"
	"imctl/kv"
	"imctl/kv/keymutex"
)

// Accounts registers, authenticates, changes and deletes accounts, and ends their sessions.
type Accounts struct {
	Deps
	friends     *Friends
	registering keymutex.Mutex // by folded account
	background  sync.WaitGroup // rehashes that go on after a login was answered
}

// NewAccounts returns accounts whose deletion ends friendships through friends.
func NewAccounts(d Deps, friends *Friends) *Accounts { return &Accounts{Deps: d, friends: friends} }

// Close waits for the work that goes on after logins were answered.
func (a *Accounts) Close() { a.background.Wait() }

// Register creates an account. limit, if set, may refuse it with an error. Register calls limit last, after it has
// hashed the password: of many registrations that wait for a place to hash, all could have passed before.
//
// Errors: kv.ErrAccountExists, kv.ErrPasswordTooLong, kv.ErrBusy, kv.ErrReadOnly, and that of limit.
func (a *Accounts) Register(ctx context.Context, u kv.User, password string, limit func() error) (kv.User, error) {
	unlock, err := a.registering.Lock(ctx, kv.FoldAccount(u.Account))
	if err != nil {
		return kv.User{}, err
	}
	defer unlock()
	if err := a.Store.Writable(); err != nil { // before the work of hashing
		return kv.User{}, err
	}
	if _, err := a.Store.Users.ByAccount(ctx, u.Account); err == nil {
		return kv.User{}, kv.ErrAccountExists
	} else if !errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, err
	}
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return kv.User{}, err
	}
	if limit != nil {
		if err := limit(); err != nil {
			return kv.User{}, err
		}
	}
	u.PasswordHash = hash
	u, err = a.Store.Users.Create(ctx, u)
	if err == nil {
		a.Log.User(eventlog.UserCreated, u)
	}
	return u, err
}

// Authenticate returns the user with that account and password.
//
// Errors: wire.WrongCredentials for an unknown account, a wrong password and a disabled account alike, and kv.ErrBusy.
func (a *Accounts) Authenticate(ctx context.Context, account, password string) (kv.User, error) {
	u, err := a.Store.Users.ByAccount(ctx, account)
	if err != nil && !errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, err
	}
	v, err := a.Hasher.Verify(ctx, u.PasswordHash, password)
	if errors.Is(err, kv.ErrPasswordTooLong) {
		return kv.User{}, wire.WrongCredentials
	}
	if err != nil {
		return kv.User{}, err
	}
	if !v.OK || u.ID == "" || u.Disabled {
		return kv.User{}, wire.WrongCredentials
	}
	if v.Stale {
		a.background.Go(func() { a.rehash(context.WithoutCancel(ctx), u, password) })
	}
	return u, nil
}

// rehash stores the password's hash with the current parameters.
func (a *Accounts) rehash(ctx context.Context, u kv.User, password string) {
	if a.Store.Writable() != nil {
		return // a later login does it
	}
	hash, err := a.Hasher.Hash(ctx, password)
	if err == nil {
		_, err = a.Store.Users.Update(ctx, u.ID, func(now *kv.User) error {
			if now.PasswordHash == u.PasswordHash {
				now.PasswordHash = hash
			}
			return nil
		})
	}
	if err != nil {
		a.Logger.Warn("rehash a password", "user", u.ID, "err", err)
	}
}

// Resume returns the user that a token belongs to, and the token if more than half of its life is left: a new session
// may use it. Otherwise it returns "", and the session needs a new token. The old one stays valid until it expires, in
// case the client does not receive the new one.
//
// Errors: wire.AuthIllegal.
func (a *Accounts) Resume(ctx context.Context, id, token string) (kv.User, string, error) {
	u, info, err := a.Authorize(ctx, id, token)
	if err != nil || time.Until(info.Expires) < info.Expires.Sub(info.Issued)/2 {
		return u, "", err
	}
	return u, token, nil
}

// Authorize returns the user that a token belongs to, and the times of the token. It reads both concurrently.
//
// Errors: wire.AuthIllegal.
func (a *Accounts) Authorize(ctx context.Context, id, token string) (u kv.User, info kv.TokenInfo, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		info, err = a.Store.Tokens.Get(ctx, id, token)
		return err
	})
	g.Go(func() (err error) {
		u, err = a.Store.Users.Get(ctx, id)
		return err
	})
	err = g.Wait()
	if errors.Is(err, kv.ErrTokenInvalid) || errors.Is(err, kv.ErrUserNotFound) || err == nil && u.Disabled {
		return kv.User{}, kv.TokenInfo{}, wire.AuthIllegal
	}
	return u, info, err
}

// Active returns the user with that id, which NATS has authenticated.
//
// Errors: wire.AuthIllegal for an unknown or disabled user.
func (a *Accounts) Active(ctx context.Context, id string) (kv.User, error) {
	u, err := a.Store.Users.Get(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) || err == nil && u.Disabled {
		return kv.User{}, wire.AuthIllegal
	}
	return u, err
}

// SetPassword changes the password, revokes the user's tokens and ends its sessions.
//
// Errors: kv.ErrUserNotFound, kv.ErrPasswordTooLong, kv.ErrBusy, kv.ErrReadOnly.
func (a *Accounts) SetPassword(ctx context.Context, id, password string) error {
	if err := a.Store.Writable(); err != nil {
		return err
	}
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	return a.setHash(ctx, id, hash)
}

// setHash is SetPassword with a hash. It also drops a code for a forgotten password.
func (a *Accounts) setHash(ctx context.Context, id, hash string) error {
	u, err := a.Store.Users.Update(ctx, id, func(u *kv.User) error { u.PasswordHash = hash; return nil })
	if err != nil {
		return err
	}
	a.Log.User(eventlog.UserPassword, u)
	if err := a.Store.Resets.Remove(ctx, id); err != nil {
		return err
	}
	return a.expel(ctx, id, "password changed")
}

// SetDisabled disables an account, which revokes its tokens and ends its sessions, or enables it again.
//
// Errors: kv.ErrUserNotFound, kv.ErrReadOnly.
func (a *Accounts) SetDisabled(ctx context.Context, id string, disabled bool) error {
	changed := false
	u, err := a.Store.Users.Update(ctx, id, func(u *kv.User) error {
		changed = u.Disabled != disabled
		u.Disabled = disabled
		return nil
	})
	if err != nil {
		return err
	}
	if !disabled {
		if changed {
			a.Log.User(eventlog.UserEnabled, u)
		}
		// A deletion that was cut off may have dropped the roster. Without a roster no user could befriend this one.
		_, err := a.Store.Rosters.Restore(ctx, kv.UserSnapshot{ID: id})
		return err
	}
	if changed {
		a.Log.User(eventlog.UserDisabled, u)
	}
	return a.expel(ctx, id, "account disabled")
}

// Delete removes an account and all its records. A deletion that is cut off leaves the account disabled. Another call
// completes it, and so does the next start.
//
// Errors: kv.ErrUserNotFound, kv.ErrReadOnly.
func (a *Accounts) Delete(ctx context.Context, id string) error {
	u, enabled, err := a.Store.Users.BeginDelete(ctx, id)
	if err != nil {
		return err
	}
	if enabled {
		a.Log.User(eventlog.UserDisabled, u)
	}
	if err := a.Store.Resets.Remove(ctx, id); err != nil {
		return err
	}
	if err := a.expel(ctx, id, "account disabled"); err != nil {
		return err
	}
	if err := a.Store.Reports.RemoveUser(ctx, id); err != nil {
		return err
	}
	changes, err := a.Store.Rosters.RemoveUser(ctx, id)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := a.friends.bringIntoForce(ctx, c); err != nil {
			return err
		}
	}
	err = a.Store.Users.Delete(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) { // another node has completed the deletion at its start
		return nil
	}
	if err == nil {
		a.Log.User(eventlog.UserDeleted, kv.User{ID: id})
	}
	return err
}

// Repair completes deletions and renames that a process left unfinished when it ended, and returns how many. Its
// duration does not depend on the number of accounts.
func (a *Accounts) Repair(ctx context.Context) (kv.Completed, error) {
	done, deleting, err := a.Store.Users.CompleteUnfinished(ctx)
	if err != nil {
		return done, err
	}
	for _, id := range deleting {
		err := a.Delete(ctx, id)
		if errors.Is(err, kv.ErrUserNotFound) { // another node has completed it
			continue
		}
		if err != nil {
			return done, err
		}
		done.Users++
	}
	return done, nil
}

// Restore creates the accounts that do not exist yet, as they were; see kv.Users.Restore.
func (a *Accounts) Restore(ctx context.Context, users []kv.User) []kv.Restored {
	all := a.Store.Users.Restore(ctx, users)
	var created []kv.UserSnapshot
	for _, r := range all {
		if r.Created {
			a.Log.User(eventlog.UserCreated, r.User)
			created = append(created, kv.UserSnapshot{ID: r.User.ID})
		}
	}
	// A user that was deleted a moment ago has a deleted roster. Create rosters, so that the users can have friends
	// now.
	if _, err := a.Store.Rosters.Restore(ctx, created...); err != nil {
		for i := range all {
			if all[i].Created {
				all[i].Err = err
			}
		}
	}
	return all
}
