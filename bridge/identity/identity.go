// Package identity authenticates users by other systems: by a program that is a NATS client, or by the issuer of a JSON
// Web Token. Package im asks the modes in order, and makes an account of a Person that has none.
package identity

import (
	"context"
	"errors"
	"time"
)

// The names of the modes, and of the sources of a Person. OIDC is no mode: it takes no password.
const (
	Builtin = "builtin" // the server has the hash of the password
	NATS    = "nats"
	JWT     = "jwt"
	OIDC    = "oidc"
)

// Person is a user of another system that has proved to be this user, or that the other system knows.
type Person struct {
	Source  string // NATS, JWT or OIDC
	Issuer  string // of the token; "" for NATS
	Subject string // what the source calls the person, whatever its account; "": only the account is known
	Account string

	// The profile, as far as the source has it. Picture is base64 or a data URL: the server loads none from elsewhere.
	Name, Mail, Picture string
	MailUnverified      bool // the source says that the person may not read Mail
}

// Credentials are what a client gives to log in.
type Credentials struct {
	Account  string
	Password string // or what stands for it, such as a token
	Address  string // of the client, as the limits count it; "" if unknown
}

// String returns nothing of the credentials, so that no format verb writes a password to a log.
func (Credentials) String() string { return "credentials" }

// The answers of a Mode besides a Person. Any other error means that the mode cannot tell now, such as kv.ErrBusy.
var (
	// ErrRefused: the password is not the account's. No other mode is asked.
	ErrRefused = errors.New("credentials refused")
	// ErrUnknown: the mode does not know the account, or this kind of password. The next mode is asked.
	ErrUnknown = errors.New("credentials unknown")
)

// Mode checks credentials. It is safe for concurrent use.
type Mode interface {
	// Name returns Builtin, NATS or JWT.
	Name() string
	// Check returns the person whose credentials they are. Errors: ErrRefused, ErrUnknown, kv.ErrBusy.
	Check(ctx context.Context, c Credentials) (Person, error)
	// Lookup returns the person that has the account, as far as the mode can tell without a password. Errors: ErrUnknown,
	// kv.ErrBusy.
	Lookup(ctx context.Context, account string) (Person, error)
}

// Dependent is a Mode that depends on another program.
type Dependent interface {
	Mode
	// Problem returns why the mode cannot check credentials now, "" if it can. A check of the program takes no longer than
	// ctx: then Problem returns what the last one has found.
	Problem(ctx context.Context) string
}

// Own is the mode Builtin. It tells the place of the server's own passwords among the modes, and knows nothing itself.
type Own struct{}

// Name returns Builtin.
func (Own) Name() string { return Builtin }

// Check returns ErrUnknown.
func (Own) Check(context.Context, Credentials) (Person, error) { return Person{}, ErrUnknown }

// Lookup returns ErrUnknown.
func (Own) Lookup(context.Context, string) (Person, error) { return Person{}, ErrUnknown }

// Results of a check, as labels of metrics.
const (
	Yes     = "yes"
	No      = "no"
	Unknown = "unknown"
	Failed  = "failed" // the mode could not tell
)

// ResultOf returns the result that an error of a check stands for.
func ResultOf(err error) string {
	switch {
	case err == nil:
		return Yes
	case errors.Is(err, ErrRefused):
		return No
	case errors.Is(err, ErrUnknown):
		return Unknown
	}
	return Failed
}

// Options say who checks passwords.
type Options struct {
	Modes []Mode // in the order in which they are asked
	// MaxAge is the time from a sign-in elsewhere until its tokens end, renewed or not; 0: as for other tokens.
	MaxAge time.Duration
	// Counted is called with the outcome of each check; nil: not counted.
	Counted func(mode, result string)
	// Enrolled is called with the id of a user whose account was made at its first sign-in, and the source; nil: not.
	Enrolled func(user, source string)
}
