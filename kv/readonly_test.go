package kv

import (
	"errors"
	"testing"
	"time"
)

// A store whose writes are refused can still be read, registers nodes and revokes tokens. No refused write is stored.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	var refused, tokensToo bool
	reason := errors.New("the disk is nearly full")
	s := newStore(t, Options{MayWrite: func(token bool) error {
		if refused && (!token || tokensToo) {
			return reason
		}
		return nil
	}})
	ctx := t.Context()
	a, err := s.Users.Create(ctx, User{Account: "a"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Users.Create(ctx, User{Account: "b"})
	if err != nil {
		t.Fatal(err)
	}
	_, befriended := s.Rosters.Befriend(ctx, a.ID, b.ID)
	if _, _, err := s.Attachments.Add(ctx, Attachment{Name: "x", Role: RoleAdmin}); err != nil || befriended != nil {
		t.Fatal(err, befriended)
	}
	refused = true
	for name, change := range map[string]func() error{
		"writable": s.Writable,
		"create":   func() error { _, err := s.Users.Create(ctx, User{Account: "c"}); return err },
		"update": func() error {
			_, err := s.Users.Update(ctx, a.ID, func(u *User) error { u.Mail = "m"; return nil })
			return err
		},
		"delete":      func() error { return s.Users.Delete(ctx, a.ID) },
		"restore":     func() error { return s.Users.Restore(ctx, []User{{Account: "d"}})[0].Err },
		"remove":      func() error { _, err := s.Rosters.Remove(ctx, a.ID, b.ID); return err },
		"request":     func() error { _, err := s.Rosters.Request(ctx, a.ID, NewID(), "note"); return err },
		"remove user": func() error { _, err := s.Rosters.RemoveUser(ctx, a.ID); return err },
		"reset":       func() error { return s.Resets.Put(ctx, a.ID, "hash", time.Hour, 1) },
		"rotate":      func() error { _, _, err := s.Attachments.Rotate(ctx, "x"); return err },
	} {
		if err := change(); !errors.Is(err, ErrReadOnly) || !errors.Is(err, reason) {
			t.Errorf("%s: %v, want %v", name, err, ErrReadOnly)
		}
	}
	if u, err := s.Users.Get(ctx, a.ID); err != nil || u.Mail != "" {
		t.Errorf("the account is %+v, %v", u, err)
	}
	if r, _, err := s.Rosters.Get(ctx, a.ID); err != nil || len(r.Friends) != 1 {
		t.Errorf("the roster is %+v, %v", r, err)
	}
	if err := s.Nodes.Register(ctx, Node{ID: "n"}); err != nil {
		t.Errorf("Register: %v", err)
	}
	token, err := s.Tokens.Issue(ctx, a.ID, "session", Origin{})
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	tokensToo = true
	if _, err := s.Tokens.Issue(ctx, a.ID, "session", Origin{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Issue while tokens are refused: %v, want %v", err, ErrReadOnly)
	}
	if err := s.Tokens.Revoke(ctx, a.ID, token); err != nil {
		t.Errorf("Revoke: %v", err)
	}
	if err := s.Tokens.Check(ctx, a.ID, token); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("Check of a revoked token: %v, want %v", err, ErrTokenInvalid)
	}
}
