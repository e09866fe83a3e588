package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"imctl/bridge/cluster"
	"imctl/bridge/wire"
	"imctl/kv"
)

func (s *Service) userEndpoints() []endpoint {
	const (
		ref  = `{"user": account, id or "id:" and id}`
		user = `{"id", "account", "name", "mail", "created", "disabled"}`
	)
	return []endpoint{
		{"user", "list", "A page of the accounts",
			`{"after": cursor, "limit": 1 to 500, "begins": how account or name begin, "disabled": true, false or null}; all may be left out`,
			`{"users": [` + user + `], "next": cursor, "" on the last page}`,
			"invalid, failed", handler(s.listUsers)},
		{"user", "show", "All about one account",
			ref, `the same, and "sex", "birthday", "sign", "picture", and the numbers "friends", "requests", "tokens", "sessions"`,
			"not_found, failed", handler(s.showUser)},
		{"user", "lookup", "The accounts that have these ids; ids that nobody has are left out",
			`{"ids": up to 500}`, `{"users": [` + user + `]}`, "invalid, failed", handler(s.lookUp)},
		{"user", "create", "Make an account",
			`{"account", "password", "name", "mail", "sex", "birthday", "sign"}; all but account and password may be left out`,
			user, "already_exists, invalid, failed", handler(s.createUser)},
		{"user", "passwd", "Give an account another password; its tokens and sessions end",
			`{"user", "password"}`, user, "not_found, invalid, failed", handler(s.setPassword)},
		{"user", "disable", "Bar an account; its tokens and sessions end",
			ref, user, "not_found, failed", handler(func(ctx context.Context, r UserRef) (User, error) { return s.setDisabled(ctx, r, true) })},
		{"user", "enable", "Let an account in again",
			ref, user, "not_found, failed", handler(func(ctx context.Context, r UserRef) (User, error) { return s.setDisabled(ctx, r, false) })},
		{"user", "delete", "Remove an account with its tokens, friendships and requests",
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
	return fitting(s, r.Limit, MaxPage, func(limit int) (Users, error) {
		return s.page(ctx, kv.ListOptions{After: after, Limit: limit, Prefix: r.Begins, Disabled: r.Disabled})
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
		return Users{}, failure(Invalid, "at most %d ids can be looked up at once", MaxPage)
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
	if err := tidyUser(&u); err != nil {
		return User{}, err
	}
	if err := checkPassword(r.Password); err != nil {
		return User{}, err
	}
	u, err := s.o.Accounts.Register(ctx, u, r.Password, nil)
	if errors.Is(err, kv.ErrAccountExists) {
		return User{}, failure(AlreadyExists, "there is an account %q already", r.Account)
	}
	return userOf(u), err
}

// tidyUser holds an account to the rules that registration has too.
func tidyUser(u *kv.User) error {
	for _, field := range []struct {
		name  string
		value *string
		limit int
	}{
		{"account", &u.Account, wire.MaxAccount}, {"name", &u.Name, wire.MaxName}, {"mail", &u.Mail, wire.MaxMail},
		{"sex", &u.Sex, wire.MaxSex}, {"birthday", &u.Birthday, wire.MaxBirthday}, {"sign", &u.Sign, wire.MaxSign},
	} {
		if err := tidy(field.name, field.value, field.limit); err != nil {
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

// tidy trims a field and holds it to the rules that registration has too.
func tidy(name string, value *string, limit int) error {
	*value = strings.TrimSpace(*value)
	if n := utf8.RuneCountInString(*value); n > limit {
		return failure(Invalid, "%s has %d characters, and may have %d", name, n, limit)
	}
	if strings.ContainsFunc(*value, func(r rune) bool {
		return unicode.IsControl(r) && (name != "sign" && name != "note" || r != '\n' && r != '\r' && r != '\t')
	}) {
		return failure(Invalid, "%s has control characters", name)
	}
	return nil
}

// checkPassword refuses what nobody could log in with. How long one may be is for the hasher to say.
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

func (s *Service) setDisabled(ctx context.Context, r UserRef, disabled bool) (User, error) {
	return s.change(ctx, r.User, func(u kv.User) error { return s.o.Accounts.SetDisabled(ctx, u.ID, disabled) })
}

// change does something to a user and returns the user as it is then.
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

// deleteUser returns the user that is no more.
func (s *Service) deleteUser(ctx context.Context, r UserRef) (User, error) {
	u, err := s.resolve(ctx, r.User)
	if err != nil {
		return User{}, err
	}
	return userOf(u), s.o.Accounts.Delete(ctx, u.ID)
}

// resolve finds the user that a reference means. Ids come before accounts: otherwise somebody could register
// another's id as an account, and have done to it what was meant for the other.
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

// errNobody is kv.ErrUserNotFound with who was not found.
var errNobody = errors.New("no such user")

// missing says who was not found.
func missing(ref string, err error) error {
	if errors.Is(err, kv.ErrUserNotFound) {
		return fmt.Errorf("%w: %w", errNobody, failure(NotFound, "there is no user %q", ref))
	}
	return err
}

func userOf(u kv.User) User {
	return User{ID: u.ID, Account: u.Account, Name: u.Name, Mail: u.Mail, Created: u.Created, Disabled: u.Disabled}
}
