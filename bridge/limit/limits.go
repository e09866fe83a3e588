package limit

import (
	"errors"
	"sync/atomic"
	"time"
)

// ErrLimited: a client or an account is over one of the limits.
var ErrLimited = errors.New("too many attempts")

// Options are the limits of a server. The zero Rate does not limit.
type Options struct {
	Registrations Rate // accounts created from one address
	Logins        Rate // login attempts from one address
	LoginFailures Rate // failed logins from one address, and of one account
	Dialogues     Rate // dialogues of one session, or of one user that is a NATS client
	Forgotten     Rate // calls for a code by mail from one address, and codes for one account
	Picture       int  // bytes of a picture
}

// Limits count what Options bound. All methods are safe for concurrent use.
type Limits struct{ current atomic.Pointer[limiters] }

// limiters are the counters of one set of options.
type limiters struct {
	opts               Options
	registrations      *Keyed
	logins             *Keyed
	failuresByAddress  *Keyed
	failuresByAccount  *Keyed
	forgottenByAddress *Keyed
	codesByUser        *Keyed
	sends              *Keyed
}

// NewLimits returns limits with all counters at zero.
func NewLimits(o Options) *Limits {
	l := new(Limits)
	l.Set(o)
	return l
}

// Set changes the options and resets all counters.
func (l *Limits) Set(o Options) {
	l.current.Store(&limiters{
		opts:               o,
		registrations:      New(o.Registrations, 0, 0),
		logins:             New(o.Logins, 0, 0),
		failuresByAddress:  New(o.LoginFailures, 0, 0),
		failuresByAccount:  New(o.LoginFailures, 0, 0),
		forgottenByAddress: New(o.Forgotten, 0, 0),
		codesByUser:        New(o.Forgotten, 0, 0),
		sends:              New(o.Dialogues, 0, 0),
	})
}

// AllowLogin counts a login attempt. It returns ErrLimited if the address or the account has used up its attempts or
// failures.
func (l *Limits) AllowLogin(address, account string) error {
	if !l.current.Load().logins.Allow(address) {
		return ErrLimited
	}
	return l.AllowClient(address, account)
}

// AllowClient is AllowLogin for NATS clients: it bounds their failures, but not their attempts.
func (l *Limits) AllowClient(address, account string) error {
	c := l.current.Load()
	if !c.failuresByAddress.Peek(address) || !c.failuresByAccount.Peek(account) {
		return ErrLimited
	}
	return nil
}

// LoginFailed counts a login with wrong credentials.
func (l *Limits) LoginFailed(address, account string) {
	c := l.current.Load()
	c.failuresByAddress.Take(address)
	c.failuresByAccount.Take(account)
}

// MayRegister returns ErrLimited if the address has created as many accounts as it may.
func (l *Limits) MayRegister(address string) error {
	if !l.current.Load().registrations.Peek(address) {
		return ErrLimited
	}
	return nil
}

// Registered counts an account that the address has created.
func (l *Limits) Registered(address string) { l.current.Load().registrations.Take(address) }

// AllowForgotten counts a call for a code by mail. It returns ErrLimited if the address has made as many as it may.
func (l *Limits) AllowForgotten(address string) error {
	if !l.current.Load().forgottenByAddress.Allow(address) {
		return ErrLimited
	}
	return nil
}

// AllowCode counts a code for a user's forgotten password, and reports whether the user may have it.
func (l *Limits) AllowCode(user string) bool { return l.current.Load().codesByUser.Allow(user) }

// ReserveSend counts a dialogue of a user that is a NATS client, and returns how long it has to wait. It returns false,
// and does not count the dialogue, if that is longer than longest.
func (l *Limits) ReserveSend(user string, longest time.Duration) (wait time.Duration, ok bool) {
	return l.current.Load().sends.Reserve(user, longest)
}

// NewSession returns the limit of a new session's dialogues.
func (l *Limits) NewSession() *Session { return NewSession(l.current.Load().opts.Dialogues, 0) }

// Picture returns how many bytes a picture may have.
func (l *Limits) Picture() int { return l.current.Load().opts.Picture }
