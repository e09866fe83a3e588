package im

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"imctl/bridge/identity"
	"imctl/bridge/wire"
	"imctl/kv"
)

// stubMode is a mode that knows passwords and persons.
type stubMode struct {
	name    string
	persons map[string]identity.Person // by account and password
	knows   string                     // account that a lookup finds
	refuses string                     // password that is refused
	fails   error
	asked   int
}

func (m *stubMode) Name() string { return m.name }

func (m *stubMode) Check(_ context.Context, c identity.Credentials) (identity.Person, error) {
	m.asked++
	if m.fails != nil {
		return identity.Person{}, m.fails
	}
	if p, ok := m.persons[c.Account+" "+c.Password]; ok {
		return p, nil
	}
	if c.Password == m.refuses {
		return identity.Person{}, identity.ErrRefused
	}
	return identity.Person{}, identity.ErrUnknown
}

func (m *stubMode) Lookup(_ context.Context, account string) (identity.Person, error) {
	if m.fails == nil && account == m.knows {
		return identity.Person{Source: m.name, Account: account}, nil
	}
	return identity.Person{}, errors.Join(m.fails, identity.ErrUnknown)
}

func person(account string) identity.Person {
	return identity.Person{Source: identity.JWT, Issuer: "https://id.example.org", Subject: "sub-" + account, Account: account}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	signIn := func(t *testing.T, p identity.Person) kv.User {
		t.Helper()
		u, err := f.accounts.SignIn(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	wantErr := func(t *testing.T, p identity.Person, want error) {
		t.Helper()
		if u, err := f.accounts.SignIn(t.Context(), p); !errors.Is(err, want) {
			t.Errorf("%+v: %v, %v, want %v", p, u, err, want)
		}
	}
	picture := "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

	t.Run("profile", func(t *testing.T) {
		p := person("Ann")
		p.Name, p.Mail, p.Picture = "Ann B.", "ann@example.org", picture
		ann := signIn(t, p)
		if ann.Account != "Ann" || ann.Name != "Ann B." || ann.Mail != p.Mail || ann.Picture != picture || ann.PasswordHash != "" || ann.External.Source != identity.JWT {
			t.Errorf("the new account is %+v", ann)
		}
		p.Account = "ANN" // compared folded
		if u := signIn(t, p); u.ID != ann.ID || u.Account != "Ann" {
			t.Errorf("the second sign-in is of %+v", u)
		}
		// The profile follows its source.
		p.Name, p.Mail = "Ann C.", "ann@example.net"
		if u := signIn(t, p); u.Name != "Ann C." || u.Mail != "ann@example.net" {
			t.Errorf("after a change at the source: %+v", u)
		}
		// What the user has changed stays, and what the source no longer has.
		err := f.accounts.UpdateProfile(t.Context(), f.current(t, ann.ID), ProfileUpdate{SetProfile: func(p *wire.ProfileFields) { p.Name, p.Picture = "Annie", "" }})
		if err != nil {
			t.Fatal(err)
		}
		p.Name, p.Mail, p.Picture = "Ann D.", "", strings.Replace(picture, "data:", "x:", 1)
		if u := signIn(t, p); u.Name != "Annie" || u.Mail != "ann@example.net" || u.Picture != "" {
			t.Errorf("after a change by the user: %+v", u)
		}
		if u := f.current(t, ann.ID); u != signIn(t, p) {
			t.Errorf("a sign-in without changes changes the record: %+v", u)
		}
	})
	t.Run("accounts", func(t *testing.T) {
		for _, account := range []string{"", " ", strings.Repeat("x", wire.MaxAccount+1), "a\nb", "a\u200bb", "\xff"} {
			wantErr(t, person(account), ErrAccountInvalid)
		}
		bad := person("dora")
		bad.Name, bad.Mail, bad.Picture = "a\u202eb", strings.Repeat("m", wire.MaxMail+1), "https://example.org/p.png"
		if u := signIn(t, bad); u.Name != "dora" || u.Mail != "" || u.Picture != "" {
			t.Errorf("a profile that is not allowed: %+v", u)
		}
	})
	t.Run("collisions", func(t *testing.T) {
		f.register(t, "bob")
		wantErr(t, person("bob"), ErrAccountTaken)
		wantErr(t, person("bοb"), ErrAccountTaken) // a Greek letter
		signIn(t, person("carl"))
		renamed := person("carl")
		renamed.Subject = "sub-another"
		wantErr(t, renamed, ErrAccountTaken)
		foreign := person("carl") // another issuer gives the subject to another person
		foreign.Issuer = "https://evil.example.org"
		wantErr(t, foreign, ErrAccountTaken)
		wantErr(t, identity.Person{Source: identity.NATS, Account: "carl"}, ErrAccountTaken)
		page := person("carl") // the same person of the same issuer, by the page
		page.Source = identity.OIDC
		if u := signIn(t, page); u.External.Source != identity.JWT {
			t.Errorf("the source is %s", u.External.Source)
		}
		page.Issuer = "https://evil.example.org"
		wantErr(t, page, ErrAccountTaken)
		unnamed := identity.Person{Source: identity.NATS, Account: "eve"}
		eve := signIn(t, unnamed)
		unnamed.Subject = "uid=eve"
		if u := signIn(t, unnamed); u.ID != eve.ID || u.External.Subject != "uid=eve" {
			t.Errorf("the subject that is known later: %+v", u)
		}
	})
	t.Run("another source", func(t *testing.T) {
		jim := f.register(t, "jim")
		token := f.issue(t, jim)
		if err := f.accounts.SetSource(t.Context(), jim.ID, kv.External{Source: identity.JWT}); err != nil {
			t.Fatal(err)
		}
		if err := f.store.Tokens.Check(t.Context(), jim.ID, token); !errors.Is(err, kv.ErrTokenInvalid) {
			t.Errorf("the token from before: %v", err)
		}
		if u := signIn(t, person("jim")); u.ID != jim.ID || u.PasswordHash != "" || u.External.Subject != "sub-jim" {
			t.Errorf("the user signs in as %+v", u)
		}
		if err := f.accounts.SetSource(t.Context(), jim.ID, kv.External{}); err != nil {
			t.Fatal(err)
		}
		wantErr(t, person("jim"), ErrAccountTaken)
		if err := f.accounts.SetPassword(t.Context(), jim.ID, password); err != nil {
			t.Error(err)
		}
	})
	t.Run("disabled", func(t *testing.T) {
		u := signIn(t, person("finn"))
		if err := f.accounts.SetDisabled(t.Context(), u.ID, true); err != nil {
			t.Fatal(err)
		}
		wantErr(t, person("finn"), wire.WrongCredentials)
	})
	t.Run("read only", func(t *testing.T) {
		u := signIn(t, person("gus"))
		f.readOnly.Store(true)
		defer f.readOnly.Store(false)
		wantErr(t, person("hal"), kv.ErrReadOnly)
		p := person("gus")
		p.Name = "Gus G."
		if got := signIn(t, p); got != u {
			t.Errorf("a sign-in while the disk is full: %+v", got)
		}
	})
	t.Run("at once", func(t *testing.T) {
		ids := make(chan string, 8)
		for range cap(ids) {
			go func() {
				u, err := f.accounts.SignIn(t.Context(), person("ida"))
				if err != nil {
					t.Error(err)
				}
				ids <- u.ID
			}()
		}
		first := <-ids
		for range cap(ids) - 1 {
			if id := <-ids; id != first {
				t.Errorf("two accounts: %s and %s", first, id)
			}
		}
	})
}

func TestModes(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	bob := f.register(t, "bob")
	tokens := &stubMode{name: identity.JWT, refuses: "expired", persons: map[string]identity.Person{"ann token": person("ann"), "bob token": person("bob"), "carl other": person("ann")}}
	directory := &stubMode{name: identity.NATS, refuses: "wrong", knows: "dora",
		persons: map[string]identity.Person{"dora secret": {Source: identity.NATS, Account: "dora"}, "eve token": {Source: identity.NATS, Account: "eve"}}}
	counts := make(map[string]int)
	enrolled := make(map[string]string)
	f.accounts.SetIdentity(identity.Options{Modes: []identity.Mode{tokens, identity.Own{}, directory}, MaxAge: time.Hour,
		Enrolled: func(user, source string) { enrolled[user] = source },
		Counted:  func(mode, result string) { counts[mode+" "+result]++ }})
	for _, c := range []struct {
		account, password string
		want              error
		counted           string
	}{
		{"ann", "token", nil, "jwt yes"},
		{"ann", "expired", wire.WrongCredentials, "jwt no"},
		{"ann", "wrong", wire.WrongCredentials, "nats no"},
		{"ann", "other", wire.WrongCredentials, "nats unknown"},
		{"bob", password, nil, "builtin yes"},
		{"bob", "wrong", wire.WrongCredentials, "builtin no"},
		{"bob", "token", wire.WrongCredentials, "jwt yes"},  // the account has a password
		{"carl", "other", wire.WrongCredentials, "jwt yes"}, // the token of another account
		{"dora", "secret", nil, "nats yes"},
		{"nobody", "secret", wire.WrongCredentials, "builtin unknown"},
	} {
		clear(counts)
		if _, err := f.accounts.Authenticate(t.Context(), c.account, c.password); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s %s: %v, want %v", c.account, c.password, err, c.want)
		}
		if counts[c.counted] != 1 {
			t.Errorf("%s %s is counted as %v", c.account, c.password, counts)
		}
	}
	for account, source := range map[string]string{"ann": identity.JWT, "dora": identity.NATS} {
		if u, err := f.store.Users.ByAccount(t.Context(), account); err != nil || enrolled[u.ID] != source || len(enrolled) != 2 {
			t.Errorf("the accounts that were made are %v, without %s: %v", enrolled, account, err)
		}
	}
	directory.fails = kv.ErrBusy
	if _, err := f.accounts.Authenticate(t.Context(), "dora", "secret"); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("a program that does not answer: %v", err)
	}
	if _, err := f.accounts.Authenticate(t.Context(), "bob", password); err != nil {
		t.Errorf("a password of the server while a program does not answer: %v", err)
	}
	directory.fails = nil

	u, err := f.accounts.RegisterClient(t.Context(), kv.User{Account: "dora", Mail: "x@example.org"}, password, "", "")
	if !errors.Is(err, kv.ErrAccountExists) {
		t.Errorf("register an account of the directory: %+v, %v", u, err)
	}
	if _, err = f.accounts.RegisterClient(t.Context(), kv.User{Account: "dora", Mail: "x@example.org"}, strings.Repeat("x", 300), "", ""); !errors.Is(err, kv.ErrPasswordTooLong) {
		t.Errorf("register an account of the directory with a password that is too long: %v", err)
	}
	if _, err = f.accounts.RegisterClient(t.Context(), kv.User{Account: "finn", Mail: "x@example.org"}, password, "", ""); err != nil {
		t.Errorf("register: %v", err)
	}
	f.accounts.SetIdentity(identity.Options{Modes: []identity.Mode{tokens, directory}})
	if _, err := f.accounts.Authenticate(t.Context(), "bob", password); !errors.Is(err, wire.WrongCredentials) {
		t.Errorf("a password of the server, which keeps none: %v", err)
	}
	if _, err = f.accounts.RegisterClient(t.Context(), kv.User{Account: "gus", Mail: "x@example.org"}, password, "", ""); !errors.Is(err, wire.SignInElsewhere) || f.accounts.Registration() != RegistrationClosed {
		t.Errorf("register at a server that keeps no passwords: %v", err)
	}
	if _, err := f.accounts.prove(t.Context(), bob, Proof{Password: ptr(password)}); !errors.Is(err, wire.WrongCredentials) {
		t.Errorf("a proof by a password of the server, which keeps none: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestSignedInElsewhere checks what a user without a password may do.
func TestSignedInElsewhere(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	tokens := &stubMode{name: identity.JWT, refuses: "expired", persons: map[string]identity.Person{"ann token": person("ann"), "bob token": person("bob")}}
	f.accounts.SetIdentity(identity.Options{Modes: []identity.Mode{identity.Own{}, tokens}, MaxAge: time.Hour})
	p := person("ann")
	p.Mail = "ann@example.org"
	ann, err := f.accounts.SignIn(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	f.take()
	fresh := Proof{Token: kv.TokenInfo{Login: time.Now()}}
	err = f.accounts.UpdateProfile(t.Context(), ann, ProfileUpdate{Password: ptr(password), Proof: fresh, SetProfile: func(*wire.ProfileFields) {}})
	if !errors.Is(err, wire.SignInElsewhere) {
		t.Errorf("change the password: %v", err)
	}
	if err := f.accounts.SetPassword(t.Context(), ann.ID, password); !errors.Is(err, wire.SignInElsewhere) {
		t.Errorf("set the password: %v", err)
	}
	if _, code, err := f.resets.NewCode(t.Context(), "ann", "ann@example.org", func(string) bool { return true }); code != "" || err != nil {
		t.Errorf("a code for the password: %q, %v", code, err)
	}
	if u := f.current(t, ann.ID); u.PasswordHash != "" {
		t.Errorf("the user has a password: %+v", u)
	}
	// The tokens end with the sign-in.
	token := f.issue(t, ann)
	if _, info, err := f.accounts.Authorize(t.Context(), ann.ID, token); err != nil || time.Until(info.Expires) > time.Hour {
		t.Errorf("the token: %v, %v", info.Expires, err)
	}
	old, err := f.store.Tokens.Issue(t.Context(), ann.ID, "s", kv.Origin{Login: time.Now().Add(-2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.accounts.Authorize(t.Context(), ann.ID, old); !errors.Is(err, wire.AuthIllegal) {
		t.Errorf("the token of an old sign-in: %v", err)
	}
	// The user deletes the account with what it logs in with.
	for name, proof := range map[string]Proof{"nothing": {}, "a wrong token": {Password: ptr("expired")}, "a password": {Password: ptr(password)}} {
		if _, err := f.accounts.DeleteOwn(t.Context(), ann, proof); !errors.Is(err, wire.WrongCredentials) {
			t.Errorf("delete the account with %s: %v", name, err)
		}
	}
	if _, err := f.accounts.DeleteOwn(t.Context(), ann, Proof{Password: ptr("token")}); err != nil {
		t.Errorf("delete the account: %v", err)
	}
	bob, err := f.accounts.SignIn(t.Context(), person("bob"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.accounts.DeleteOwn(t.Context(), bob, fresh); err != nil {
		t.Errorf("delete the account after a fresh login: %v", err)
	}
}

// stubHooks is a moderator that is asked about registrations.
type stubHooks struct {
	err   error
	asked []string
}

func (h *stubHooks) Register(account, name, address string) error {
	h.asked = append(h.asked, account+" "+name+" "+address)
	return h.err
}

func (h *stubHooks) Request(_, _, note string) (string, error) { return note, nil }

// TestModeratedSignIn: moderators decide about the account that a first login would make, and about no later login.
func TestModeratedSignIn(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	hooks := &stubHooks{err: wire.AccountExists}
	f.accounts.Hooks = hooks
	ann := person("ann")
	ann.Name = "Ann B."
	mode := &stubMode{name: identity.JWT, persons: map[string]identity.Person{"ann token": ann}}
	f.accounts.SetIdentity(identity.Options{Modes: []identity.Mode{mode}})
	login := func(want error) {
		t.Helper()
		if _, err := f.accounts.Authenticate(WithAddress(t.Context(), "192.0.2.7"), "ann", "token"); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("the login: %v, want %v", err, want)
		}
	}
	login(wire.WrongCredentials)
	if _, err := f.accounts.SignIn(t.Context(), ann); !errors.Is(err, ErrAccountRefused) {
		t.Errorf("the sign-in on the page: %v", err)
	}
	hooks.err = wire.InternalError // as without an answer, if hooks.on_error is refuse
	login(wire.InternalError)
	if _, err := f.store.Users.ByAccount(t.Context(), "ann"); !errors.Is(err, kv.ErrUserNotFound) {
		t.Errorf("an account that was refused: %v", err)
	}
	hooks.err = nil
	login(nil)
	if got := hooks.asked[0]; got != "ann Ann B. 192.0.2.7" {
		t.Errorf("the moderator was asked about %q", got)
	}
	asked := len(hooks.asked)
	hooks.err = wire.AccountExists
	login(nil)
	if len(hooks.asked) != asked {
		t.Error("the moderator was asked about a login to an account that exists")
	}
}
