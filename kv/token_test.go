package kv

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	a, b := NewID(), NewID()
	issue := func(id, session string) string {
		t.Helper()
		token, err := s.Tokens.Issue(ctx, id, session, Origin{})
		if err != nil || !ValidID(token) {
			t.Fatalf("token %q, %v", token, err)
		}
		return token
	}
	a1, a2, b1 := issue(a, "one"), issue(a, "two"), issue(b, "three")
	check := func(id, token string, want error) {
		t.Helper()
		if err := s.Tokens.Check(ctx, id, token); !errors.Is(err, want) {
			t.Errorf("Check: %v, want %v", err, want)
		}
	}
	check(a, a1, nil)
	check(a, a2, nil)
	check(b, a1, ErrTokenInvalid)
	check(a, NewID(), ErrTokenInvalid)
	check(a, "", ErrTokenInvalid)
	check(a, "*", ErrTokenInvalid)

	list, err := s.Tokens.List(ctx, a)
	if err != nil || len(list) != 2 || list[0].Session != "one" || list[1].Session != "two" {
		t.Fatalf("List = %+v, %v", list, err)
	}
	for _, info := range list {
		if life := info.Expires.Sub(info.Issued); life < 24*time.Hour || life > 24*time.Hour+2*time.Second {
			t.Errorf("the time to live of a token is %v", life)
		}
		if info.Hash == a1 || info.Hash == a2 || len(info.Hash) != 64 {
			t.Errorf("List has the hash %q", info.Hash)
		}
	}

	if err := s.Tokens.Revoke(ctx, a, a1); err != nil {
		t.Fatal(err)
	}
	check(a, a1, ErrTokenInvalid)
	check(a, a2, nil)
	a4 := issue(a, "four")
	if err := s.Tokens.RevokeAllBut(ctx, a, TokenHash(a4)); err != nil {
		t.Fatal(err)
	}
	check(a, a2, ErrTokenInvalid)
	check(a, a4, nil)
	check(b, b1, nil)
	if info, err := s.Tokens.Get(ctx, a, a4); err != nil || info.Session != "four" || info.Hash != TokenHash(a4) {
		t.Errorf("Get = %+v, %v", info, err)
	}
	if err := s.Tokens.RevokeAll(ctx, a); err != nil {
		t.Fatal(err)
	}
	check(a, a4, ErrTokenInvalid)
	check(b, b1, nil)
	if list, err := s.Tokens.List(ctx, a); err != nil || len(list) != 0 {
		t.Errorf("List after RevokeAll = %+v, %v", list, err)
	}
	for _, id := range []string{"", ">", "*"} {
		if err := s.Tokens.RevokeAll(ctx, id); err != nil {
			t.Errorf("RevokeAll(%q): %v", id, err)
		}
		if err := s.Tokens.Revoke(ctx, id, "*"); err != nil {
			t.Errorf("Revoke(%q): %v", id, err)
		}
	}
	check(b, b1, nil)
	if _, err := s.Tokens.Issue(ctx, ">", "", Origin{}); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("Issue for an invalid id: %v, want %v", err, ErrUserNotFound)
	}
}

func TestTokensExpire(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{TokenTTL: time.Second})
	ctx := testContext(t)
	id := NewID()
	token, err := s.Tokens.Issue(ctx, id, "", Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tokens.Check(ctx, id, token); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token expires", func() bool {
		return errors.Is(s.Tokens.Check(ctx, id, token), ErrTokenInvalid)
	})
}

// A killed server starts from what is on the disk when a revocation is acknowledged. It must not have a revoked
// token, although tokens are written asynchronously.
func TestRevokedTokensStayRevoked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, connect(t, startServer(t, dir, true)), Options{})
	ctx := testContext(t)
	id, other := NewID(), NewID()
	var tokens []string
	for range 20 {
		token, err := s.Tokens.Issue(ctx, id, "", Origin{})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
		if _, err := s.Tokens.Issue(ctx, other, "", Origin{}); err != nil {
			t.Fatal(err)
		}
	}
	// Wait until the tokens are on the disk. Otherwise the test would prove nothing.
	eventually(t, "the tokens reach the disk", func() bool {
		copied := openCopy(t, dir)
		list, err := copied.Tokens.List(ctx, id)
		return err == nil && len(list) == len(tokens)
	})
	if err := s.Tokens.Revoke(ctx, id, tokens[0]); err != nil {
		t.Fatal(err)
	}
	if err := openCopy(t, dir).Tokens.Check(ctx, id, tokens[0]); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("Check of a revoked token after a crash: %v, want %v", err, ErrTokenInvalid)
	}
	if err := s.Tokens.RevokeAll(ctx, id); err != nil {
		t.Fatal(err)
	}
	if list, err := openCopy(t, dir).Tokens.List(ctx, id); err != nil || len(list) != 0 {
		t.Errorf("%d revoked tokens are valid after a crash, %v", len(list), err)
	}
}

// openCopy opens a store on a copy of a running server's directory.
func openCopy(t *testing.T, dir string) *Store {
	t.Helper()
	var copied string
	eventually(t, "no file is removed while the directory is copied", func() bool {
		copied = t.TempDir()
		return os.CopyFS(copied, os.DirFS(dir)) == nil
	})
	return openStore(t, connect(t, startServer(t, copied, true)), Options{})
}

// TestTokenOrigin: a token tells its login, as a renewed one does, and a record of an older version is readable.
func TestTokenOrigin(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{TokenMaxAge: time.Hour})
	ctx := testContext(t)
	id := NewID()
	get := func(token string) TokenInfo {
		t.Helper()
		info, err := s.Tokens.Get(ctx, id, token)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	store := func(record string) string {
		t.Helper()
		token := NewID()
		if _, err := s.Tokens.b.write(ctx, put(tokenKey(id, token), []byte(record))); err != nil {
			t.Fatal(err)
		}
		return token
	}
	at := func(ago time.Duration) string { return `"` + now().Add(-ago).Format(time.RFC3339) + `"` }
	token, err := s.Tokens.Issue(ctx, id, "one", Origin{Address: "192.0.2.1", Agent: "Browser\x1b[2J\u202e/1 ü\n\xff" + strings.Repeat("x", 200)})
	if err != nil {
		t.Fatal(err)
	}
	first := get(token)
	if want := "Browser[2J/1 ü\ufffd" + strings.Repeat("x", MaxAgent-15); first.Agent != want || first.Address != "192.0.2.1" {
		t.Errorf("address %q, agent %q, want %q", first.Address, first.Agent, want)
	}
	if !first.FreshLogin(time.Minute) || first.FreshLogin(0) || first.Renewed || !first.Login.Equal(first.Issued) {
		t.Errorf("a token of a login with the password: %+v", first)
	}
	login := now().Add(-30 * time.Minute)
	if token, err = s.Tokens.Issue(ctx, id, "two", Origin{Login: login}); err != nil {
		t.Fatal(err)
	}
	renewed := get(token)
	if !renewed.Renewed || renewed.FreshLogin(time.Hour) || !renewed.FirstLogin().Equal(login) || !renewed.Expires.Equal(login.Add(time.Hour)) {
		t.Errorf("a renewed token: %+v", renewed)
	}
	if old := get(store(`{"issued":` + at(time.Minute) + `,"session":"x"}`)); old.FreshLogin(time.Hour) || !old.FirstLogin().Equal(old.Issued) || old.Session != "x" {
		t.Errorf("a token of an older version: %+v", old)
	}
	for what, record := range map[string]string{
		"an old login":              `{"issued":` + at(2*time.Hour) + `,"login":` + at(2*time.Hour) + `,"address":"192.0.2.9"}`,
		"renewed since then":        `{"issued":` + at(0) + `,"login":` + at(2*time.Hour) + `,"renewed":true,"address":"192.0.2.9"}`,
		"an old one of before that": `{"issued":` + at(2*time.Hour) + `}`,
	} {
		if err := s.Tokens.Check(ctx, id, store(record)); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for address, want := range map[string]bool{"192.0.2.1": true, "192.0.2.9": false, "192.0.2.2": false, "": false} {
		if seen, err := s.Tokens.SeenFrom(ctx, id, address); err != nil || seen != want {
			t.Errorf("seen from %q: %t, %v", address, seen, err)
		}
	}
	if seen, err := s.Tokens.SeenFrom(ctx, NewID(), "192.0.2.1"); err != nil || seen {
		t.Errorf("another user seen: %t, %v", seen, err)
	}
}
