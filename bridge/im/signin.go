package im

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"imctl/bridge/eventlog"
	"imctl/bridge/identity"
	"imctl/bridge/picture"
	"imctl/bridge/wire"
	"imctl/kv"
)

// ErrAccountTaken: a person of another system has the account of a user that signs in otherwise, or an account that
// looks like it. It is a kv.ErrAccountExists.
var ErrAccountTaken = fmt.Errorf("%w, and its user signs in otherwise", kv.ErrAccountExists)

// ErrAccountInvalid: a person of another system has an account that the rules of registration do not allow.
var ErrAccountInvalid = errors.New("the account is empty, too long, or has characters that are not allowed")

// ErrAccountRefused: a moderator refuses the account of a person of another system that has none yet.
var ErrAccountRefused = errors.New("a moderator refuses the account")

type addressKey struct{}

// WithAddress returns a context for checks of credentials of a client with that address.
func WithAddress(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// addressOf returns the address of a context of WithAddress, otherwise "".
func addressOf(ctx context.Context) string {
	address, _ := ctx.Value(addressKey{}).(string)
	return address
}

// SetIdentity says who checks passwords. It must be called before logins. Without it the server checks all of them.
func (a *Accounts) SetIdentity(o identity.Options) {
	if o.Counted == nil {
		o.Counted = func(string, string) {}
	}
	a.identity = o
}

// Modes returns the names of what checks passwords, in order.
func (a *Accounts) Modes() []string {
	if a.identity.Modes == nil {
		return []string{identity.Builtin}
	}
	names := make([]string, len(a.identity.Modes))
	for i, m := range a.identity.Modes {
		names[i] = m.Name()
	}
	return names
}

// HasPasswords reports whether the server keeps passwords itself.
func (a *Accounts) HasPasswords() bool {
	if a.identity.Modes == nil {
		return true
	}
	for _, m := range a.identity.Modes {
		if m.Name() == identity.Builtin {
			return true
		}
	}
	return false
}

// KeepsPasswords returns nil if the server keeps passwords itself. Errors: wire.SignInElsewhere.
func (a *Accounts) KeepsPasswords() error {
	if a.HasPasswords() {
		return nil
	}
	return wire.SignInElsewhere
}

// lookUp returns kv.ErrAccountExists if one of the modes knows the account. Errors: also kv.ErrBusy.
func (a *Accounts) lookUp(ctx context.Context, account string) error {
	for _, m := range a.identity.Modes {
		_, err := m.Lookup(ctx, account)
		if err == nil {
			return kv.ErrAccountExists
		}
		if !errors.Is(err, identity.ErrUnknown) {
			return err
		}
	}
	return nil
}

// SignIn returns the user of a person that another system has identified. It creates the account if it does not exist,
// and otherwise brings those parts of the profile up to date that the user has not changed.
//
// Errors: ErrAccountInvalid; ErrAccountTaken if the account belongs to a user with a password, of another source, or
// with another subject of this source; ErrAccountRefused by a moderator; wire.WrongCredentials if the user is disabled;
// kv.ErrReadOnly for a new user; wire.InternalError for a new user while moderators must answer and do not.
func (a *Accounts) SignIn(ctx context.Context, p identity.Person) (kv.User, error) {
	p, err := tidy(p)
	if err != nil {
		return kv.User{}, err
	}
	p.MailUnverified = p.MailUnverified && p.Mail != "" && a.mail != nil
	u, err := a.Store.Users.ByAccount(ctx, p.Account)
	if errors.Is(err, kv.ErrUserNotFound) {
		if u, err = a.enroll(ctx, p); err == nil || !errors.Is(err, kv.ErrAccountExists) {
			return u, err
		}
		// Another login of the person may have created it.
		if u, err = a.Store.Users.ByAccount(ctx, p.Account); errors.Is(err, kv.ErrUserNotFound) {
			err = ErrAccountTaken // an account that looks like it
		}
	}
	switch {
	case err != nil:
		return kv.User{}, err
	case !isPerson(u.External, p):
		return kv.User{}, ErrAccountTaken
	case u.Disabled:
		return kv.User{}, wire.WrongCredentials
	}
	return a.follow(ctx, u, p)
}

// SetSource makes another system check the sign-in of a user, whose password is dropped. The zero External makes the
// server check it again: the user then needs a new password. The tokens are revoked and the sessions ended.
//
// Errors: kv.ErrUserNotFound, kv.ErrReadOnly.
func (a *Accounts) SetSource(ctx context.Context, id string, e kv.External) error {
	u, err := a.Store.Users.Update(ctx, id, func(u *kv.User) error {
		if u.External.Source != "" || e.Source != "" {
			u.PasswordHash, u.External = "", e
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.Log.User(eventlog.UserPassword, u)
	if err := a.Store.Resets.Remove(ctx, id); err != nil {
		return err
	}
	return a.expel(ctx, id, "another sign-in")
}

// isPerson reports whether the user with the identity e is p. A token and the page's sign-in of the same issuer identify
// the same person by its subject.
func isPerson(e kv.External, p identity.Person) bool {
	switch {
	case e.Source == "":
		return false
	case e.Source == p.Source && e.Subject == "":
		return true
	case e.Source != p.Source && (e.Source == identity.NATS || p.Source == identity.NATS || e.Subject == ""):
		return false
	}
	return e.Subject == p.Subject && e.Issuer == p.Issuer // a subject means something at its issuer only
}

// maxSubject is the longest issuer and subject of a person that is stored, in bytes.
const maxSubject = 512

// maxPicture is the largest picture of another system that is stored, in bytes.
const maxPicture = 64 << 10

// tidy applies the rules of registration to a person. It drops what they do not allow of the profile: the user can set
// it.
func tidy(p identity.Person) (identity.Person, error) {
	account := wire.Field{Name: "account", Kind: wire.Account, Max: wire.MaxAccount}
	if !keep(account, &p.Account) || len(p.Subject) > maxSubject || len(p.Issuer) > maxSubject {
		return p, ErrAccountInvalid
	}
	if !keep(wire.Field{Name: "name", Kind: wire.Name, Max: wire.MaxName}, &p.Name) {
		p.Name = ""
	}
	if !keep(wire.Field{Name: "mail", Max: wire.MaxMail}, &p.Mail) {
		p.Mail = ""
	}
	if _, ok := picture.Parse(p.Picture); !ok || len(p.Picture) > maxPicture {
		p.Picture = ""
	}
	return p, nil
}

// keep trims a field and reports whether it is not empty and allowed.
func keep(field wire.Field, value *string) bool {
	*value = strings.TrimSpace(*value)
	return *value != "" && utf8.ValidString(*value) && utf8.RuneCountInString(*value) <= field.Max && field.Problem(*value) == ""
}

// external returns the identity of p as it is stored.
func external(p identity.Person) kv.External {
	e := kv.External{Source: p.Source, Issuer: p.Issuer, Subject: p.Subject, Name: p.Name, Mail: p.Mail}
	if p.Picture != "" {
		e.Picture = kv.TokenHash(p.Picture)
	}
	return e
}

// askEnroll asks moderators about the account of a person that has none yet, as about a registration.
//
// Errors: ErrAccountRefused; wire.InternalError for a refusal with this code, and if moderators must answer and do not.
func (a *Accounts) askEnroll(ctx context.Context, u kv.User) error {
	if a.Hooks == nil {
		return nil
	}
	err := a.Hooks.Register(u.Account, u.Name, addressOf(ctx))
	if err == nil || errors.Is(err, wire.InternalError) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAccountRefused, err)
}

// enroll creates the account of a person. Errors: those of askEnroll, kv.ErrAccountExists, kv.ErrReadOnly.
func (a *Accounts) enroll(ctx context.Context, p identity.Person) (kv.User, error) {
	unlock, err := a.registering.Lock(ctx, kv.FoldAccount(p.Account))
	if err != nil {
		return kv.User{}, err
	}
	defer unlock()
	if err := a.checkReserved(ctx, p.Account); err != nil {
		return kv.User{}, err
	}
	u := kv.User{Account: p.Account, Mail: p.Mail, MailUnverified: p.MailUnverified, External: external(p), Profile: kv.Profile{Name: p.Name, Picture: p.Picture}}
	if u.Name == "" {
		u.Name = u.Account
	}
	if err := a.askEnroll(ctx, u); err != nil {
		return kv.User{}, err
	}
	u, err = a.Store.Users.Create(ctx, u)
	if err == nil {
		if a.identity.Enrolled != nil {
			a.identity.Enrolled(u.ID, p.Source)
		}
		a.Log.User(eventlog.UserCreated, u)
		a.sendCode(u)
	}
	return u, err
}

// follow brings the profile of a user up to date with what its source says. A part that the user has changed stays as it
// is: it differs from what the source said before. So does a part that the source no longer has. If the record cannot be
// written now, a later login does it.
func (a *Accounts) follow(ctx context.Context, me kv.User, p identity.Person) (kv.User, error) {
	if followed(me, p) == me {
		return me, nil
	}
	now, err := a.Store.Users.Update(ctx, me.ID, func(u *kv.User) error {
		if !isPerson(u.External, p) {
			return ErrAccountTaken
		}
		*u = followed(*u, p)
		return nil
	})
	switch {
	case errors.Is(err, kv.ErrReadOnly):
		return me, nil
	case errors.Is(err, kv.ErrUserNotFound), err == nil && now.Disabled:
		return kv.User{}, wire.WrongCredentials
	case err != nil:
		return kv.User{}, err
	}
	if me.Profile != now.Profile || me.Mail != now.Mail {
		a.Log.User(eventlog.UserUpdated, now)
	}
	if me.Mail != now.Mail {
		if err := a.Store.MailCodes.Remove(ctx, me.ID); err != nil {
			return kv.User{}, err
		}
	}
	if me.Profile != now.Profile {
		if err := a.showProfile(ctx, now); err != nil {
			return kv.User{}, err
		}
	}
	return now, nil
}

// followed returns the record of a user after a login at which its source said p.
func followed(u kv.User, p identity.Person) kv.User {
	was, is := u.External, external(p)
	is.Source = was.Source // another one is another way to the same issuer
	switch {
	case is.Name == "":
		is.Name = was.Name
	case u.Name == was.Name || was.Name == "" && u.Name == u.Account:
		u.Name = is.Name
	}
	switch {
	case is.Mail == "":
		is.Mail = was.Mail
	case u.Mail == was.Mail && is.Mail != was.Mail:
		u.Mail, u.MailUnverified = is.Mail, p.MailUnverified
	}
	switch {
	case is.Picture == "":
		is.Picture = was.Picture
	case is.Picture != was.Picture && (u.Picture == "" && was.Picture == "" || u.Picture != "" && kv.TokenHash(u.Picture) == was.Picture):
		u.Picture = p.Picture
	}
	u.External = is
	return u
}

// authenticate asks the modes for the user with that account and password. known is the user with the account, zero if
// there is none.
//
// Errors: wire.WrongCredentials, kv.ErrBusy, and others if a mode cannot tell.
func (a *Accounts) authenticate(ctx context.Context, known kv.User, account, password string) (kv.User, error) {
	c := identity.Credentials{Account: account, Password: password, Address: addressOf(ctx)}
	for _, m := range a.identity.Modes {
		if m.Name() == identity.Builtin {
			if known.ID != "" && known.External.Source == "" {
				u, err := a.byOwnPassword(ctx, known, password)
				a.identity.Counted(identity.Builtin, ownResult(err))
				return u, err
			}
			a.identity.Counted(identity.Builtin, identity.Unknown)
			continue
		}
		p, err := m.Check(ctx, c)
		a.identity.Counted(m.Name(), identity.ResultOf(err))
		switch {
		case err == nil:
			return a.enter(ctx, p, account)
		case errors.Is(err, identity.ErrRefused):
			return kv.User{}, a.refuse(ctx, password)
		case !errors.Is(err, identity.ErrUnknown):
			return kv.User{}, err
		}
	}
	return kv.User{}, a.refuse(ctx, password)
}

// ownResult returns the result of a check of a password of this server.
func ownResult(err error) string {
	if errors.Is(err, wire.WrongCredentials) {
		return identity.No
	}
	return identity.ResultOf(err)
}

// refuse returns wire.WrongCredentials after the work that a wrong password of this server costs, so that the duration
// does not tell which accounts have one.
func (a *Accounts) refuse(ctx context.Context, password string) error {
	if a.HasPasswords() {
		if _, err := a.Hasher.Verify(ctx, "", password); err != nil {
			return err
		}
	}
	return wire.WrongCredentials
}

// enter returns the user of a person that has logged in to an account.
func (a *Accounts) enter(ctx context.Context, p identity.Person, account string) (kv.User, error) {
	if kv.FoldAccount(p.Account) != kv.FoldAccount(account) {
		return kv.User{}, wire.WrongCredentials
	}
	u, err := a.SignIn(ctx, p)
	if errors.Is(err, ErrAccountTaken) || errors.Is(err, ErrAccountInvalid) || errors.Is(err, ErrAccountRefused) {
		if logged, _ := a.unusable.ContainsOrAdd(kv.FoldAccount(account), struct{}{}); !logged {
			a.Logger.Warn("a user cannot sign in", "source", p.Source, "person", p.Account, "err", err)
		}
		return kv.User{}, wire.WrongCredentials
	}
	return u, err
}

// signInOver reports whether a sign-in elsewhere is too long ago for its tokens.
func (a *Accounts) signInOver(u kv.User, login time.Time) bool {
	return u.External.Source != "" && a.identity.MaxAge > 0 && time.Since(login) >= a.identity.MaxAge
}

// SignInEnds returns when the tokens of a sign-in end that a user makes now; zero: as the tokens say.
func (a *Accounts) SignInEnds(u kv.User) time.Time {
	if u.External.Source == "" || a.identity.MaxAge == 0 {
		return time.Time{}
	}
	return time.Now().Add(a.identity.MaxAge)
}
