package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"imctl/bridge/cluster"
	"imctl/bridge/identity"
	"imctl/bridge/wire"
	"imctl/kv"
)

func (s *Service) userEndpoints() []endpoint {
	const (
		ref  = `{"user": account, id or "id:" and id}`
		user = `{"id", "account", "name", "mail", "created", "disabled", "source"}`
	)
	return []endpoint{
		{"user", "list", "List a page of the accounts",
			`{"after": cursor, "limit": 1 to 500, "begins": prefix of account or name, "disabled": true, false or null}; all are optional`,
			`{"users": [` + user + `], "next": cursor, "" on the last page}`,
			"invalid, failed", handler(s.listUsers)},
		{"user", "show", "Show one account",
			ref, `the account, and "sex", "birthday", "sign", "picture", and the numbers "friends", "requests", "tokens", "sessions"`,
			"not_found, failed", handler(s.showUser)},
		{"user", "lookup", "Return the accounts with these ids. Unknown ids are ignored",
			`{"ids": up to 500}`, `{"users": [` + user + `]}`, "invalid, failed", handler(s.lookUp)},
		{"user", "create", "Create an account",
			`{"account", "password", "name", "mail", "sex", "birthday", "sign"}; all except account and password are optional`,
			user, "already_exists, invalid, failed", handler(s.createUser)},
		{"user", "passwd", "Set a new password. This revokes the tokens and ends the sessions",
			`{"user", "password"}`, user, "not_found, invalid, failed", handler(s.setPassword)},
		{"user", "source", "Make another system check the sign-in of an account, or the server again. This drops the password, revokes the tokens and ends the sessions",
			`{"user", "source": builtin, nats, jwt or oidc, "issuer", "subject"}; issuer and subject are optional`, user, "not_found, invalid, failed", handler(s.setSource)},
		{"user", "disable", "Disable an account. This revokes its tokens and ends its sessions",
			ref, user, "not_found, failed", handler(func(ctx context.Context, r UserRef) (User, error) { return s.setDisabled(ctx, r, true) })},
		{"user", "enable", "Enable an account",
			ref, user, "not_found, failed", handler(func(ctx context.Context, r UserRef) (User, error) { return s.setDisabled(ctx, r, false) })},
		{"user", "delete", "Delete an account with its tokens, friendships and requests",
			ref, user, "not_found, failed", handler(s.deleteUser)},
	}
}

func (s *Service) listUsers(ctx context.Context, r ListUsers) (Users, error) {
	after := uint64(0)
	if r.After != "" {
		var err error
		if after, err = strconv.ParseUint(r.After, 10, 64); err != nil {
			return Users{}, failure(Invalid, "after is not a cursor")
		}
	}
	return fitPage(s, r.Limit, MaxPage, func(limit int) (Users, error) {
		return s.page(ctx, kv.ListOptions{After: after, Limit: limit, Prefix: r.Begins, Disabled: r.Disabled, Gateway: r.Gateway})
	})
}

func (s *Service) page(ctx context.Context, o kv.ListOptions) (Users, error) {
	found, next, err := s.o.Store.Users.List(ctx, o)
	if err != nil {
		return Users{}, err
	}
	page := Users{Users: make([]User, len(found))}
	for i, u := range found {
		page.Users[i] = userOf(u)
	}
	if next != 0 {
		page.Next = strconv.FormatUint(next, 10)
	}
	return page, nil
}

func (s *Service) lookUp(ctx context.Context, r LookUp) (Users, error) {
	if len(r.IDs) > MaxPage {
		return Users{}, failure(Invalid, "at most %d ids can be looked up per request", MaxPage)
	}
	found, err := s.o.Store.Users.GetMany(ctx, r.IDs)
	if err != nil {
		return Users{}, err
	}
	users := Users{Users: []User{}}
	for _, id := range r.IDs {
		if u, ok := found[id]; ok {
			users.Users = append(users.Users, userOf(u))
		}
	}
	return users, nil
}

func (s *Service) showUser(ctx context.Context, r UserRef) (UserDetails, error) {
	u, err := s.resolve(ctx, r.User)
	if err != nil {
		return UserDetails{}, err
	}
	roster, _, err := s.o.Store.Rosters.Get(ctx, u.ID)
	if err != nil {
		return UserDetails{}, err
	}
	tokens, err := s.o.Store.Tokens.List(ctx, u.ID)
	if err != nil {
		return UserDetails{}, err
	}
	d := UserDetails{
		User: userOf(u), Sex: u.Sex, Birthday: u.Birthday, Sign: u.Sign, Picture: u.Picture,
		Friends: len(roster.Friends), Requests: len(roster.Requests), Tokens: len(tokens),
	}
	if s.o.Live != nil {
		sessions, err := s.o.Live.Sessions(ctx, cluster.ListSessions{User: u.ID})
		if err != nil {
			return UserDetails{}, err
		}
		n := len(sessions)
		d.Sessions = &n
	}
	return d, nil
}

func (s *Service) createUser(ctx context.Context, r CreateUser) (User, error) {
	u := kv.User{Mail: r.Mail, Account: r.Account, Profile: kv.Profile{Name: r.Name, Sex: r.Sex, Birthday: r.Birthday, Sign: r.Sign}}
	if err := normalizeUser(&u); err != nil {
		return User{}, err
	}
	if err := checkPassword(r.Password); err != nil {
		return User{}, err
	}
	u, err := s.o.Accounts.Register(ctx, u, r.Password)
	if errors.Is(err, kv.ErrAccountLooksAlike) {
		return User{}, failure(AlreadyExists, "account %q looks like an existing account: choose another one", r.Account)
	}
	if errors.Is(err, kv.ErrAccountExists) {
		return User{}, failure(AlreadyExists, "account %q already exists", r.Account)
	}
	return userOf(u), err
}

// normalizeUser trims the fields of an account and applies the rules of registration.
func normalizeUser(u *kv.User) error {
	for _, field := range []struct {
		wire.Field
		value *string
	}{
		{wire.Field{Name: "account", Kind: wire.Account, Max: wire.MaxAccount}, &u.Account},
		{wire.Field{Name: "name", Kind: wire.Name, Max: wire.MaxName}, &u.Name},
		{wire.Field{Name: "mail", Max: wire.MaxMail}, &u.Mail},
		{wire.Field{Name: "sex", Max: wire.MaxSex}, &u.Sex},
		{wire.Field{Name: "birthday", Max: wire.MaxBirthday}, &u.Birthday},
		{wire.Field{Name: "sign", Kind: wire.Lines, Max: wire.MaxSign}, &u.Sign},
	} {
		if err := normalize(field.Field, field.value); err != nil {
			return err
		}
	}
	if u.Account == "" {
		return failure(Invalid, "account must not be empty")
	}
	if u.Name == "" {
		u.Name = u.Account
	}
	return nil
}

// normalize trims a field and applies the rules of registration.
func normalize(field wire.Field, value *string) error {
	*value = strings.TrimSpace(*value)
	if n := utf8.RuneCountInString(*value); n > field.Max {
		return failure(Invalid, "%s has %d characters, the maximum is %d", field.Name, n, field.Max)
	}
	if problem := field.Problem(*value); problem != "" {
		return failure(Invalid, "%s %s", field.Name, problem)
	}
	return nil
}

// checkPassword refuses an empty password. The hasher checks the maximum length.
func checkPassword(password string) error {
	if password == "" {
		return failure(Invalid, "password must not be empty")
	}
	return nil
}

func (s *Service) setPassword(ctx context.Context, r SetPassword) (User, error) {
	if err := checkPassword(r.Password); err != nil {
		return User{}, err
	}
	return s.change(ctx, r.User, func(u kv.User) error { return s.o.Accounts.SetPassword(ctx, u.ID, r.Password) })
}

// maxSubject is the longest issuer and subject of a user of another system, in bytes.
const maxSubject = 512

func (s *Service) setSource(ctx context.Context, r SetSource) (User, error) {
	e := kv.External{Source: r.Source, Issuer: r.Issuer, Subject: r.Subject}
	switch {
	case !slices.Contains([]string{identity.Builtin, identity.NATS, identity.JWT, identity.OIDC}, r.Source):
		return User{}, failure(Invalid, "source must be %s, %s, %s or %s", identity.Builtin, identity.NATS, identity.JWT, identity.OIDC)
	case len(r.Issuer) > maxSubject || len(r.Subject) > maxSubject:
		return User{}, failure(Invalid, "issuer and subject have at most %d bytes", maxSubject)
	case r.Source == identity.Builtin && (r.Issuer != "" || r.Subject != ""):
		return User{}, failure(Invalid, "the source %s has no issuer and no subject", identity.Builtin)
	case r.Source == identity.Builtin:
		e = kv.External{}
	}
	return s.change(ctx, r.User, func(u kv.User) error { return s.o.Accounts.SetSource(ctx, u.ID, e) })
}

func (s *Service) setDisabled(ctx context.Context, r UserRef, disabled bool) (User, error) {
	return s.change(ctx, r.User, func(u kv.User) error { return s.o.Accounts.SetDisabled(ctx, u.ID, disabled) })
}

// change calls do with a user and returns the user after the change.
func (s *Service) change(ctx context.Context, ref string, do func(kv.User) error) (User, error) {
	u, err := s.resolve(ctx, ref)
	if err != nil {
		return User{}, err
	}
	if err := do(u); err != nil {
		return User{}, err
	}
	if u, err = s.o.Store.Users.Get(ctx, u.ID); err != nil {
		return User{}, err
	}
	return userOf(u), nil
}

// deleteUser returns the deleted user.
func (s *Service) deleteUser(ctx context.Context, r UserRef) (User, error) {
	u, err := s.resolve(ctx, r.User)
	if err != nil {
		return User{}, err
	}
	return userOf(u), s.o.Accounts.Delete(ctx, u.ID)
}

// resolve returns the user of a reference. Ids take precedence over accounts: otherwise a user could register the id
// of another user as an account and receive the changes meant for that user.
func (s *Service) resolve(ctx context.Context, ref string) (kv.User, error) {
	if strings.TrimSpace(ref) == "" {
		return kv.User{}, failure(Invalid, "user must not be empty")
	}
	id, isID := strings.CutPrefix(ref, "id:")
	if kv.ValidID(id) {
		u, err := s.o.Store.Users.Get(ctx, id)
		if isID || !errors.Is(err, kv.ErrUserNotFound) {
			return u, missing(ref, err)
		}
	}
	u, err := s.o.Store.Users.ByAccount(ctx, ref)
	return u, missing(ref, err)
}

// errNoUser is kv.ErrUserNotFound with the reference in its text.
var errNoUser = errors.New("no such user")

// missing adds the reference to kv.ErrUserNotFound.
func missing(ref string, err error) error {
	if errors.Is(err, kv.ErrUserNotFound) {
		return fmt.Errorf("%w: %w", errNoUser, failure(NotFound, "user %q does not exist", ref))
	}
	return err
}

func userOf(u kv.User) User {
	return User{ID: u.ID, Account: u.Account, Name: u.Name, Mail: u.Mail, Created: u.Created, Disabled: u.Disabled, Source: u.External.Source, Gateway: u.Gateway}
}
