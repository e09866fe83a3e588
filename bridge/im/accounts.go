package im

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"

	"imctl/bridge/eventlog"
	"imctl/bridge/identity"
	"imctl/bridge/wire"
	"imctl/kv"
	"imctl/kv/keymutex"
)

// Accounts registers, authenticates, changes and deletes accounts, and ends their sessions.
type Accounts struct {
	Deps
	friends     *Friends
	registering keymutex.Mutex                              // by folded account
	mode        atomic.Value                                // Registration
	background  sync.WaitGroup                              // rehashes that go on after a login was answered
	mail        Mail                                        // nil: the server sends no mail
	identity    identity.Options                            // who checks passwords
	reserved    func(context.Context, string) (bool, error) // nil: no account is reserved
	unusable    *lru.Cache[string, struct{}]                // users that were logged since they cannot log in: ids, and accounts of persons
}

// maxUnusable is how many users with unusable password hashes are remembered, so that each is logged once.
const maxUnusable = 1024

// NewAccounts returns accounts whose deletion ends friendships through friends.
func NewAccounts(d Deps, friends *Friends) *Accounts {
	unusable, _ := lru.New[string, struct{}](maxUnusable) // fails only for sizes below 1
	return &Accounts{Deps: d, friends: friends, unusable: unusable}
}

// Close waits for the work that goes on after logins were answered.
func (a *Accounts) Close() { a.background.Wait() }

// Register creates an account. It checks the password before the account, so that a refused password does not tell
// whether the account exists. If u.MailUnverified is set and the server sends mail, the address gets a code that
// verifies it. Otherwise it counts as verified.
//
// Errors: kv.ErrPasswordTooLong, kv.ErrPasswordTooShort, kv.ErrAccountExists, kv.ErrBusy, kv.ErrReadOnly.
func (a *Accounts) Register(ctx context.Context, u kv.User, password string) (kv.User, error) {
	return a.register(ctx, u, password)
}

// register is Register with more parts, which are written together with the account. Errors: also those of the parts.
func (a *Accounts) register(ctx context.Context, u kv.User, password string, parts ...kv.Part) (kv.User, error) {
	if err := a.Hasher.Check(password); err != nil {
		return kv.User{}, err
	}
	unlock, err := a.registering.Lock(ctx, kv.FoldAccount(u.Account))
	if err != nil {
		return kv.User{}, err
	}
	defer unlock()
	if err := a.Store.Writable(); err != nil { // before the work of hashing
		return kv.User{}, err
	}
	if err := a.Store.Users.Available(ctx, u.Account); err != nil {
		return kv.User{}, err
	}
	hash, err := a.Hasher.Hash(ctx, password)
	if err != nil {
		return kv.User{}, err
	}
	u.PasswordHash = hash
	u.MailUnverified = u.MailUnverified && a.mail != nil
	u, err = a.Store.Users.Create(ctx, u, parts...)
	if err == nil {
		a.Log.User(eventlog.UserCreated, u)
		a.sendCode(u)
	}
	return u, err
}

// Authenticate returns the user with that account and password. It asks all that check passwords, in order. The user may
// be new then. All logins that fail at the server's own passwords do the same work.
//
// Errors: wire.WrongCredentials for an unknown account, a wrong password, an unusable password hash and a disabled
// account alike, and kv.ErrBusy.
func (a *Accounts) Authenticate(ctx context.Context, account, password string) (kv.User, error) {
	u, err := a.Store.Users.ByAccount(ctx, account)
	if err != nil && !errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, err
	}
	if a.identity.Modes != nil {
		return a.authenticate(ctx, u, account, password)
	}
	return a.byOwnPassword(ctx, u, password)
}

// byOwnPassword is Authenticate for the user with the account, by the password that the server keeps. A user without an
// id does not exist.
func (a *Accounts) byOwnPassword(ctx context.Context, u kv.User, password string) (kv.User, error) {
	u, v, err := a.verify(ctx, u, password)
	if errors.Is(err, kv.ErrHashUnusable) {
		a.logUnusable(u.ID, err)
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

// verify verifies the password of a user, and returns the user as it is afterwards. A login may wait seconds for its
// hash. The password may be changed meanwhile, which ends all sessions that exist then: this one must not begin with
// the old password. A user without an id does not exist.
func (a *Accounts) verify(ctx context.Context, u kv.User, password string) (kv.User, kv.Verdict, error) {
	for {
		v, err := a.Hasher.Verify(ctx, u.PasswordHash, password)
		if err != nil || !v.OK || u.ID == "" {
			return u, v, err
		}
		now, err := a.Store.Users.Get(ctx, u.ID)
		if errors.Is(err, kv.ErrUserNotFound) {
			return kv.User{}, kv.Verdict{}, nil
		}
		if err != nil || now.PasswordHash == u.PasswordHash {
			return now, v, err
		}
		u = now
	}
}

// logUnusable logs once that a user cannot log in, since its password hash is unusable.
func (a *Accounts) logUnusable(id string, err error) {
	if logged, _ := a.unusable.ContainsOrAdd(id, struct{}{}); !logged {
		a.Logger.Error("a user cannot log in until it has a new password: imctl user passwd", "user", id, "err", err)
	}
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
// case the client does not receive the new one. login is the time of the login with the password that the token goes
// back to. The new token goes back to the same.
//
// Errors: wire.AuthIllegal.
func (a *Accounts) Resume(ctx context.Context, id, token string) (u kv.User, same string, login time.Time, err error) {
	u, info, err := a.Authorize(ctx, id, token)
	if err != nil {
		return kv.User{}, "", time.Time{}, err
	}
	if info.HalfOver() {
		token = ""
	}
	return u, token, info.FirstLogin(), nil
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
	if errors.Is(err, kv.ErrTokenInvalid) || errors.Is(err, kv.ErrUserNotFound) || err == nil && (u.Disabled || a.signInOver(u, info.FirstLogin())) {
		return kv.User{}, kv.TokenInfo{}, wire.AuthIllegal
	}
	if err == nil && u.External.Source != "" && a.identity.MaxAge > 0 {
		if end := info.FirstLogin().Add(a.identity.MaxAge); end.Before(info.Expires) {
			info.Expires = end
		}
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
// Errors: wire.SignInElsewhere for a user of another system; kv.ErrUserNotFound, kv.ErrPasswordTooLong,
// kv.ErrPasswordTooShort, kv.ErrBusy, kv.ErrReadOnly.
func (a *Accounts) SetPassword(ctx context.Context, id, password string) error {
	if err := a.Hasher.Check(password); err != nil {
		return err
	}
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
	u, err := a.Store.Users.Update(ctx, id, func(u *kv.User) error {
		if u.External.Source != "" {
			return wire.SignInElsewhere
		}
		u.PasswordHash = hash
		return nil
	})
	if err != nil {
		return err
	}
	a.Log.User(eventlog.UserPassword, u)
	if err := a.Store.Resets.Remove(ctx, id); err != nil {
		return err
	}
	a.note(u, PasswordChanged)
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

// DeleteOwn begins to delete the account of a caller that proves to know its password, and returns a function that
// completes the deletion. In between, the account is disabled, and its sessions go on. If the function is not called,
// the next start of a server completes the deletion.
//
// Errors: wire.WrongCredentials, kv.ErrUserNotFound, kv.ErrBusy, kv.ErrReadOnly.
func (a *Accounts) DeleteOwn(ctx context.Context, me kv.User, p Proof) (complete func(context.Context) error, err error) {
	if _, err := a.prove(ctx, me, p); err != nil {
		return nil, err
	}
	if err := a.beginDelete(ctx, me.ID); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		err := a.Delete(ctx, me.ID)
		if errors.Is(err, kv.ErrUserNotFound) { // another node has completed it at its start
			return nil
		}
		return err
	}, nil
}

// beginDelete disables an account and notes its deletion.
func (a *Accounts) beginDelete(ctx context.Context, id string) error {
	u, enabled, err := a.Store.Users.BeginDelete(ctx, id)
	if err == nil && enabled {
		a.Log.User(eventlog.UserDisabled, u)
	}
	return err
}

// Delete removes an account and all its records. A deletion that is cut off leaves the account disabled. Another call
// completes it, and so does the next start.
//
// Errors: kv.ErrUserNotFound, kv.ErrReadOnly.
func (a *Accounts) Delete(ctx context.Context, id string) error {
	if err := a.beginDelete(ctx, id); err != nil {
		return err
	}
	if err := a.Store.Resets.Remove(ctx, id); err != nil {
		return err
	}
	if err := a.Store.MailCodes.Remove(ctx, id); err != nil {
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
	// No friend is left that could write to a conversation.
	if err := a.Store.EraseTalks(ctx, id); err != nil {
		return err
	}
	if err := a.Store.EraseFiles(ctx, id); err != nil {
		return err
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

// CheckHash returns an error for a password hash that no password can be verified with. Errors: kv.ErrHashUnusable.
func (a *Accounts) CheckHash(hash string) error { return a.Hasher.CheckHash(hash) }

// HashPassword returns the hash of a password of another server. Errors: kv.ErrPasswordTooLong, kv.ErrBusy.
func (a *Accounts) HashPassword(ctx context.Context, password string) (string, error) {
	return a.Hasher.Hash(ctx, password)
}

// TooLong reports whether no user may log in with a password of this length.
func (a *Accounts) TooLong(password string) bool { return a.Hasher.TooLong(password) }

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
