package api_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/bridgetest"
	"imctl/kv"
)

// TestMaxAge: a renewed token goes back to the login of the token before it, and both end at max_age.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{TokenTTL: time.Hour, TokenMaxAge: 24 * time.Hour})
	now := time.Now().UTC().Truncate(time.Second)
	login := func(u bridgetest.User) (l bridgetest.Login) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.OpenByToken(t, u).Next(t)), &l); err != nil {
			t.Fatal(err)
		}
		if l.Token != "" {
			s.Secret(l.Token)
		}
		return l
	}
	u := s.Register(t)
	first := now.Add(-23 * time.Hour)
	old := token(t, s, u, map[string]any{"issued": first, "login": first})
	renewed := login(old)
	if renewed.Code != 200 || renewed.Token == old.Token {
		t.Fatalf("login by token: code %d, the same token %t", renewed.Code, renewed.Token == old.Token)
	}
	info, err := s.Store.Tokens.Get(t.Context(), u.ID, renewed.Token)
	if err != nil || !info.Renewed || !info.FirstLogin().Equal(first) || !strings.HasPrefix(info.Address, "127.0.0.1") {
		t.Errorf("the renewed token: %+v, %v", info, err)
	}
	for what, record := range map[string]map[string]any{
		"renewed":          {"issued": now, "login": now.Add(-25 * time.Hour), "renewed": true},
		"not renewed":      {"issued": now.Add(-25 * time.Hour), "login": now.Add(-25 * time.Hour)},
		"an older version": {"issued": now.Add(-25 * time.Hour)},
	} {
		ended := token(t, s, u, record)
		if got := login(ended); got.Code != 515 {
			t.Errorf("%s: login by token: code %d, want 515", what, got.Code)
		}
		want(t, what, call(t, s, ended, "/im/sessions", nil), 515)
	}
	s.Login(t, u)
}

// TestSessions lists the caller's sessions over HTTP and NATS, ends one, and then all others.
func TestSessions(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	u, stranger := s.Register(t), s.Register(t)
	other, _ := s.Login(t, stranger)
	first, login := s.Login(t, u)
	second, _ := s.Login(t, u)
	me := u
	me.Token = login.Token
	list := func(n int) []sessionEntry {
		t.Helper()
		got := call(t, s, me, "/im/sessions", nil)
		if got.Code != 200 || len(got.Sessions) != n {
			t.Fatalf("got code %d and %+v, want %d sessions", got.Code, got.Sessions, n)
		}
		return got.Sessions
	}
	all := list(3) // the first token, from the registration, was issued without a client
	online, current := 0, 0
	for _, e := range all {
		hash := kv.TokenHash(me.Token)
		if e.Current != strings.HasPrefix(hash, e.Session) || len(e.Session) != 16 || time.Since(e.Issued) > time.Minute || e.Expires.Sub(e.Issued) != s.Store.Tokens.TTL() {
			t.Errorf("the session %+v", e)
		}
		if e.Online {
			online++
			if e.Address != "127.0.0.1" || e.Agent != "Go-http-client/1.1" {
				t.Errorf("address and agent of %+v", e)
			}
		}
		if e.Current {
			current++
		}
	}
	if online != 2 || current != 1 {
		t.Errorf("%d sessions are online, and %d the caller's: %+v", online, current, all)
	}
	nats := s.AsUser(t, u)
	calls := "im.call." + u.ID + "."
	if got := nats.Ask(t, calls+"sessions", `{}`); strings.Count(got, `"online":true,"current":false`) != 2 || strings.Count(got, `"session":`) != 3 {
		t.Errorf("by NATS: %s", got)
	}
	i := slices.IndexFunc(all, func(e sessionEntry) bool { return e.Online && !e.Current })
	want(t, "too long", call(t, s, me, "/im/sessions/end", fields{"session": strings.Repeat("a", 33)}), 403)
	want(t, "empty", call(t, s, me, "/im/sessions/end", fields{"session": " "}), 403)
	want(t, "another user's", call(t, s, stranger, "/im/sessions/end", fields{"session": all[i].Session}), 200)
	list(3)
	want(t, "one", call(t, s, me, "/im/sessions/end", fields{"session": all[i].Session}), 200)
	second.WantClosed(t, websocket.ClosePolicyViolation)
	nats.WantClosed(t, "the connection to NATS")
	list(2)
	want(t, "all others", call(t, s, me, "/im/sessions/end", fields{}), 200)
	if left := list(1); !left[0].Current || !left[0].Online {
		t.Errorf("left is %+v", left)
	}
	want(t, "a revoked token", call(t, s, u, "/im/sessions", nil), 515)
	nats = s.AsUser(t, u)
	if got := nats.Ask(t, calls+"end", `{}`); !strings.HasPrefix(got, `{"code":200,`) {
		t.Errorf("end by NATS: %s", got)
	}
	first.WantClosed(t, websocket.ClosePolicyViolation)
	nats.WantClosed(t, "its own end")
	want(t, "after the end by NATS", call(t, s, me, "/im/sessions", nil), 515)
	other.Send(t, `{}`)
	other.Next(t) // the stranger's session goes on
}

// TestOldTokenInList: a record of an older version is listed without address and agent.
func TestOldTokenInList(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	u := token(t, s, s.Register(t), map[string]any{"issued": time.Now().UTC(), "session": "x"})
	got := call(t, s, u, "/im/sessions", nil)
	i := slices.IndexFunc(got.Sessions, func(e sessionEntry) bool { return e.Current })
	if i < 0 || got.Sessions[i].Address != "" || got.Sessions[i].Agent != "" || got.Sessions[i].Online {
		t.Errorf("got %+v", got)
	}
}

// TestDeleteAccount: the answer is 200, the account is gone for every later login, and its sessions end.
func TestDeleteAccount(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	u := s.Register(t)
	session, login := s.Login(t, u)
	me := u
	me.Token = login.Token
	want(t, "a wrong password", call(t, s, me, "/im/account/delete", fields{"password": "x"}), 505)
	want(t, "delete", call(t, s, me, "/im/account/delete", fields{}), 200)
	if got := s.OpenSession(t, u).Next(t); !strings.HasPrefix(got, `{"code":505,`) {
		t.Errorf("login after the deletion: %s", got)
	}
	want(t, "a call after the deletion", call(t, s, me, "/im/sessions", nil), 515)
	session.WantClosed(t, websocket.ClosePolicyViolation)
	waitUntilDeleted(t, s, u)
	if tokens, err := s.Store.Tokens.List(t.Context(), u.ID); err != nil || len(tokens) != 0 {
		t.Errorf("%d tokens are left, %v", len(tokens), err)
	}
}

// waitUntilDeleted waits until the account of u is free.
func waitUntilDeleted(t testing.TB, s *bridgetest.Server, u bridgetest.User) {
	t.Helper()
	for deadline := time.Now().Add(bridgetest.WaitTimeout); ; time.Sleep(time.Millisecond) {
		_, err := s.Store.Users.ByAccount(t.Context(), u.Account)
		if errors.Is(err, kv.ErrUserNotFound) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the account still exists: %v", err)
		}
	}
}
