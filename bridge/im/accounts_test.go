package im

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.register(t, "ann")
	for _, row := range []struct {
		what, account, password string
		readOnly                bool
		err                     error
	}{
		{what: "taken account", account: " ANN ", err: kv.ErrAccountExists},
		{what: "password too long", account: "bob", password: strings.Repeat("x", 257), err: kv.ErrPasswordTooLong},
		{what: "read-only", account: "bob", readOnly: true, err: kv.ErrReadOnly},
		{what: "password too long for a taken account", account: "ann", password: strings.Repeat("x", 257), err: kv.ErrPasswordTooLong},
		{what: "looks like a taken account", account: "аnn", err: kv.ErrAccountLooksAlike},
		{what: "new account", account: "bob"},
		{what: "the account again", account: "bob", err: kv.ErrAccountExists},
	} {
		f.readOnly.Store(row.readOnly)
		if row.password == "" {
			row.password = password
		}
		u, err := f.accounts.Register(t.Context(), kv.User{Account: row.account}, row.password)
		if !errors.Is(err, row.err) {
			t.Errorf("%s: got %v, want %v", row.what, err, row.err)
		}
		if row.err != nil {
			f.want(t, row.what)
			continue
		}
		f.want(t, row.what, "event "+u.ID+" created")
		if stored := f.current(t, u.ID); !strings.HasPrefix(stored.PasswordHash, "$argon2id$") || stored.Account != row.account {
			t.Errorf("%s: unexpected account %s with a hash of %d bytes", row.what, stored.Account, len(stored.PasswordHash))
		}
	}
}

// TestRegisterConcurrently: of many registrations of one account, one succeeds.
func TestRegisterConcurrently(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var created atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := f.accounts.Register(t.Context(), kv.User{Account: "ann"}, password)
			if err == nil {
				created.Add(1)
			} else if !errors.Is(err, kv.ErrAccountExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 {
		t.Errorf("%d registrations succeeded, want 1", created.Load())
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, disabled := f.register(t, "ann"), f.register(t, "disabled")
	if err := f.accounts.SetDisabled(t.Context(), disabled.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what, account, password string
		err                     error
	}{
		{"right", "ann", password, nil},
		{"in another case, with spaces", " ANN ", password, nil},
		{"unknown account", "bob", password, wire.WrongCredentials},
		{"wrong password", "ann", "wrong horse", wire.WrongCredentials},
		{"password too long", "ann", strings.Repeat("x", 257), wire.WrongCredentials},
		{"disabled", "disabled", password, wire.WrongCredentials},
	} {
		u, err := f.accounts.Authenticate(t.Context(), row.account, row.password)
		if !errors.Is(err, row.err) || (u.ID == ann.ID) != (row.err == nil) || row.err != nil && u != (kv.User{}) {
			t.Errorf("%s: got %s, %v, want error %v", row.what, u, err, row.err)
		}
	}
	for id, want := range map[string]error{ann.ID: nil, disabled.ID: wire.AuthIllegal, kv.NewID(): wire.AuthIllegal} {
		if _, err := f.accounts.Active(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("active: got %v, want %v", err, want)
		}
	}
}

// TestRehash: a login updates a hash whose parameters have changed, unless the password has changed or the store is
// read-only.
func TestRehash(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann := f.register(t, "ann")
	costly := cheap
	costly.Passes = 3
	login := func() string {
		t.Helper()
		a := NewAccounts(f.deps(costly), f.friends)
		u, err := a.Authenticate(t.Context(), "ann", password)
		a.Close()
		if err != nil || u.ID != ann.ID {
			t.Fatalf("got %s, %v", u, err)
		}
		return f.current(t, ann.ID).PasswordHash
	}
	f.readOnly.Store(true)
	if hash := login(); hash != ann.PasswordHash {
		t.Error("the hash was changed in a read-only store")
	}
	f.readOnly.Store(false)
	hash := login()
	if !strings.Contains(ann.PasswordHash, ",t=1,") || !strings.Contains(hash, ",t=3,") {
		t.Error("the parameters of the hash were not updated from t=1 to t=3")
	}
	if again := login(); again != hash {
		t.Error("a current hash was replaced")
	}
	NewAccounts(f.deps(cheap), f.friends).rehash(t.Context(), ann, password)
	if f.current(t, ann.ID).PasswordHash != hash {
		t.Error("a rehash of an old password replaced the current one")
	}
}

// TestResume: a token past half of its life is replaced at the next login.
func TestResume(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob, disabled := f.register(t, "ann"), f.register(t, "bob"), f.register(t, "disabled")
	if _, err := f.store.Users.Update(t.Context(), disabled.ID, func(u *kv.User) error { u.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	ttl := f.store.Tokens.TTL()
	revoked := f.issue(t, ann)
	if err := f.store.Tokens.Revoke(t.Context(), ann.ID, revoked); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what, id, token string
		renew           bool
		err             error
	}{
		{what: "new token", id: ann.ID, token: f.issue(t, ann)},
		// The token has its whole TTL left in each of these. What counts is the share of its life.
		{what: "before half of its life", id: ann.ID, token: f.backdated(t, ann, ttl*8/10)},
		{what: "after half of its life", id: ann.ID, token: f.backdated(t, ann, ttl*12/10), renew: true},
		{what: "wrong token", id: ann.ID, token: kv.NewID(), err: wire.AuthIllegal},
		{what: "another's token", id: ann.ID, token: f.issue(t, bob), err: wire.AuthIllegal},
		{what: "revoked token", id: ann.ID, token: revoked, err: wire.AuthIllegal},
		{what: "unknown user", id: kv.NewID(), token: f.issue(t, ann), err: wire.AuthIllegal},
		{what: "invalid id", id: "*", token: f.issue(t, ann), err: wire.AuthIllegal},
		{what: "disabled", id: disabled.ID, token: f.issue(t, disabled), err: wire.AuthIllegal},
	} {
		want := row.token
		if row.renew || row.err != nil {
			want = ""
		}
		u, token, _, err := f.accounts.Resume(t.Context(), row.id, row.token)
		if !errors.Is(err, row.err) || token != want || err == nil && u.ID != ann.ID || err != nil && u != (kv.User{}) {
			t.Errorf("%s: got %s, the token %t, %v, want the token %t, %v", row.what, u, token != "", err, want != "", row.err)
		}
		if err := f.store.Tokens.Check(t.Context(), row.id, row.token); row.err == nil && err != nil {
			t.Errorf("%s: the old token is not valid any more: %v", row.what, err)
		}
	}
}

// backdated stores a token that was issued the given time ago, and expires a TTL after now. No method of the store does.
func (f *fixture) backdated(t *testing.T, u kv.User, ago time.Duration) string {
	t.Helper()
	token := kv.NewID()
	record, err := json.Marshal(map[string]any{"issued": time.Now().Add(-ago).UTC(), "session": "session"})
	if err != nil {
		t.Fatal(err)
	}
	key := subject.BucketKeys(subject.Prefix("im").Buckets("").Tokens) + u.ID + "." + kv.TokenHash(token)
	if _, err := f.nc.Request(key, record, time.Minute); err != nil {
		t.Fatal(err)
	}
	return token
}

func TestSetDisabled(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	f.issue(t, ann)
	set := func(disabled bool) func(context.Context) error {
		return func(ctx context.Context) error { return f.accounts.SetDisabled(ctx, ann.ID, disabled) }
	}
	f.intercept(func(call string) error {
		if strings.HasPrefix(call, "close") && (len(f.tokens(t, ann)) > 0 || !f.current(t, ann.ID).Disabled) {
			t.Errorf("%s: with tokens, or before the account is disabled", call)
		}
		return nil
	})
	f.run(t, []step{
		{what: "disable", call: set(true), want: append([]string{"event ann disabled"}, expelled("ann", "account disabled")...)},
		{what: "disable again", call: set(true), want: expelled("ann", "account disabled")},
		{what: "enable", call: set(false), want: []string{"event ann enabled"}},
		{what: "enable again", call: set(false)},
		{what: "unknown user", call: func(ctx context.Context) error { return f.accounts.SetDisabled(ctx, kv.NewID(), true) }, err: kv.ErrUserNotFound},
		// A user that is enabled during its deletion can have friends again.
		{what: "enable during a deletion", call: func(ctx context.Context) error {
			if _, _, err := f.store.Users.BeginDelete(ctx, ann.ID); err != nil {
				return err
			}
			if _, err := f.store.Rosters.RemoveUser(ctx, ann.ID); err != nil {
				return err
			}
			return f.accounts.SetDisabled(ctx, ann.ID, false)
		}, want: []string{"event ann enabled"}},
	})
	f.befriend(t, ann, bob)
	if done, err := f.accounts.Repair(t.Context()); err != nil || done != (kv.Completed{}) {
		t.Errorf("repair after the deletion was canceled: %+v, %v", done, err)
	}
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann := f.register(t, "ann")
	f.issue(t, ann)
	code := f.code(t, ann)
	set := func(id, password string) func(context.Context) error {
		return func(ctx context.Context) error { return f.accounts.SetPassword(ctx, id, password) }
	}
	f.run(t, []step{
		{what: "too long", call: set(ann.ID, strings.Repeat("x", 257)), err: kv.ErrPasswordTooLong},
		{what: "unknown user", call: set(kv.NewID(), "new"), err: kv.ErrUserNotFound},
		{what: "password", call: set(ann.ID, "new"), want: append([]string{"event ann password"}, expelled("ann", "password changed")...)},
		{what: "the old password", call: func(ctx context.Context) error { _, err := f.accounts.Authenticate(ctx, "ann", password); return err }, err: wire.WrongCredentials},
		{what: "the new password", call: func(ctx context.Context) error { _, err := f.accounts.Authenticate(ctx, "ann", "new"); return err }},
		{what: "a code from before", call: func(ctx context.Context) error { return f.resets.ResetPassword(ctx, "ann", code, "x") }, err: wire.WrongCredentials},
	})
	if tokens := f.tokens(t, ann); len(tokens) > 0 {
		t.Errorf("%d tokens are left", len(tokens))
	}
}

// busyQueue is a queue for hashes. While the first caller waits, meanwhile is called.
type busyQueue struct {
	once      sync.Once
	meanwhile func()
}

// Enter implements kv.Queue.
func (q *busyQueue) Enter(context.Context) (func(), error) {
	q.once.Do(q.meanwhile)
	return func() {}, nil
}

// TestPasswordChangedMeanwhile: while a call waits for the hash of the old password, the password is changed, the account
// is disabled or deleted, or the same password gets another hash.
func TestPasswordChangedMeanwhile(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	other, err := kv.NewHasher(cheap).Hash(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	same, err := kv.NewHasher(cheap).Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	text := password
	proof := Proof{Password: &text}
	change := func(do func(*kv.User)) func(kv.User) error {
		return func(u kv.User) error {
			_, err := f.store.Users.Update(t.Context(), u.ID, func(u *kv.User) error { do(u); return nil })
			return err
		}
	}
	calls := map[string]func(*Accounts, kv.User) error{
		"login": func(a *Accounts, u kv.User) error {
			_, err := a.Authenticate(t.Context(), u.Account, password)
			return err
		},
		"new password": func(a *Accounts, u kv.User) error {
			mine := "mine"
			return a.UpdateProfile(t.Context(), u, ProfileUpdate{Password: &mine, Proof: proof, SetProfile: func(*wire.ProfileFields) {}})
		},
		"deletion": func(a *Accounts, u kv.User) error { _, err := a.DeleteOwn(t.Context(), u, proof); return err },
	}
	for name, row := range map[string]struct {
		meanwhile func(kv.User) error
		login     error
		others    error
	}{
		"changed":  {change(func(u *kv.User) { u.PasswordHash = other }), wire.WrongCredentials, wire.WrongCredentials},
		"disabled": {change(func(u *kv.User) { u.Disabled = true }), wire.WrongCredentials, nil},
		"deleted":  {func(u kv.User) error { return f.store.Users.Delete(t.Context(), u.ID) }, wire.WrongCredentials, wire.WrongCredentials},
		"rehashed": {change(func(u *kv.User) { u.PasswordHash = same }), nil, nil},
	} {
		for what, call := range calls {
			u := f.register(t, strings.ReplaceAll(name+what, " ", ""))
			options := cheap
			options.Queue = &busyQueue{meanwhile: func() {
				if err := row.meanwhile(u); err != nil {
					t.Error(err)
				}
			}}
			a := NewAccounts(f.deps(options), f.friends)
			want := row.others
			if what == "login" {
				want = row.login
			}
			if err := call(a, u); !errors.Is(err, want) {
				t.Errorf("%s, %s meanwhile: got %v, want %v", what, name, err, want)
			}
			a.Close()
			f.take()
		}
	}
}

// TestEndSessions ends some sessions and revokes some tokens, and not the others.
func TestEndSessions(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann := f.register(t, "ann")
	var tokens, hashes []string
	for range 4 {
		token := f.issue(t, ann)
		tokens, hashes = append(tokens, token), append(hashes, kv.TokenHash(token))
	}
	revoked := func(hash string) string { return "close ann ids=[] token=" + hash + " keep= 1008 token revoked" }
	f.run(t, []step{
		{what: "some sessions", call: func(ctx context.Context) error { return f.accounts.EndSessions(ctx, ann.ID, "because", "1", "2") },
			want: []string{"close ann ids=[1 2] token= keep= 1008 because"}},
		{what: "all sessions", call: func(ctx context.Context) error { return f.accounts.EndSessions(ctx, ann.ID, "because") }, want: expelled("ann", "because")},
		{what: "logout", call: func(ctx context.Context) error { return f.accounts.Logout(ctx, ann.ID, tokens[0]) },
			want: []string{"close ann ids=[] token=" + hashes[0] + " keep= 1000 logged out", "disconnect ann"}},
		{what: "two tokens", call: func(ctx context.Context) error { return f.accounts.RevokeTokens(ctx, ann.ID, hashes[1:3]...) },
			want: []string{revoked(hashes[1]), revoked(hashes[2]), "disconnect ann"}},
		{what: "no token", call: func(ctx context.Context) error { return f.accounts.RevokeTokens(ctx, ann.ID) }},
	})
	if left := f.tokens(t, ann); !slices.Equal(left, hashes[3:]) {
		t.Errorf("%d tokens are left, want the last one", len(left))
	}
}

// TestAuthenticateUnusableHash: a user with an unusable password hash cannot log in, as if the password were wrong, and
// the log names the user once.
func TestAuthenticateUnusableHash(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	costly := strings.Replace(f.register(t, "ann").PasswordHash, "m=64,", "m=1048576,", 1)
	u, err := f.store.Users.Create(t.Context(), kv.User{Account: "bob", PasswordHash: costly})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	deps := f.deps(cheap)
	deps.Logger = slog.New(slog.NewTextHandler(&log, nil))
	a := NewAccounts(deps, f.friends)
	for range 3 {
		if _, err := a.Authenticate(t.Context(), "bob", password); !errors.Is(err, wire.WrongCredentials) {
			t.Errorf("got %v, want %v", err, wire.WrongCredentials)
		}
	}
	if text := log.String(); strings.Count(text, "user="+u.ID) != 1 || strings.Contains(text, "$argon2id$") {
		t.Errorf("the log is %s", text)
	}
}

// TestShortPasswords: no call sets a password that is too short, and a short password that is stored still works.
func TestShortPasswords(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann := f.register(t, "ann")
	strict := cheap
	strict.MinLength = len(password) + 1
	a := NewAccounts(f.deps(strict), f.friends)
	short, old := password, password
	none := func(*wire.ProfileFields) {}
	for what, call := range map[string]func() error{
		"register":                 func() error { _, err := a.Register(t.Context(), kv.User{Account: "bob"}, short); return err },
		"register a taken account": func() error { _, err := a.Register(t.Context(), kv.User{Account: "ann"}, short); return err },
		"set":                      func() error { return a.SetPassword(t.Context(), ann.ID, short) },
		"update": func() error {
			return a.UpdateProfile(t.Context(), ann, ProfileUpdate{Password: &short, SetProfile: none, Proof: Proof{Password: &old}})
		},
		"reset":                       func() error { return NewResets(a).ResetPassword(t.Context(), "ann", f.code(t, ann), short) },
		"reset of an unknown account": func() error { return NewResets(a).ResetPassword(t.Context(), "bob", "AAAA-AAAA", short) },
	} {
		if err := call(); !errors.Is(err, kv.ErrPasswordTooShort) {
			t.Errorf("%s: got %v, want %v", what, err, kv.ErrPasswordTooShort)
		}
	}
	if _, err := a.Authenticate(t.Context(), "ann", password); err != nil {
		t.Errorf("login with a stored short password: %v", err)
	}
}
