package kv

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func mustInvite(t *testing.T, s *Store, i Invite) (Invite, string) {
	t.Helper()
	i, secret, err := s.Invites.Create(testContext(t), i)
	if err != nil {
		t.Fatal(err)
	}
	return i, secret
}

func TestInvites(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	two, secret := mustInvite(t, s, Invite{Uses: 2, Used: 1, Note: "for Ada", Expires: now().Add(time.Hour)})
	old, expired := mustInvite(t, s, Invite{Uses: 2, Expires: now()})
	if two.Used != 0 || two.Created.IsZero() || !validInviteID(two.ID) {
		t.Errorf("created %+v", two)
	}
	for key, value := range readBucket(t, s.Users.b) {
		if strings.Contains(key+value, secret) {
			t.Errorf("the secret is stored at %s", key)
		}
	}
	register := func(account, secret string) error {
		return second(s.Users.Create(ctx, User{Account: account}, s.Invites.Use(secret)))
	}
	for _, wrong := range []string{"", "x", expired, NewID(), secret + "x", "*"} {
		if err := register("john", wrong); !errors.Is(err, ErrInvite) {
			t.Errorf("invite %q: %v, want %v", wrong, err, ErrInvite)
		}
		if _, err := s.Invites.Check(ctx, wrong); !errors.Is(err, ErrInvite) {
			t.Errorf("check of %q: %v, want %v", wrong, err, ErrInvite)
		}
	}
	mustCreate(t, s, "mary", "Mary")
	if err := register("Mary", secret); !errors.Is(err, ErrAccountExists) {
		t.Errorf("a taken account: %v", err)
	}
	if err := register("Mary", expired); !errors.Is(err, ErrInvite) {
		t.Errorf("a taken account without a valid invite: %v, want %v", err, ErrInvite)
	}
	for i, want := range []error{nil, nil, ErrInvite} {
		if err := register(fmt.Sprint("user", i), secret); !errors.Is(err, want) {
			t.Errorf("use %d: %v, want %v", i+1, err, want)
		}
	}
	all, err := s.Invites.List(ctx)
	if err != nil || len(all) != 2 || all[0].Used+all[1].Used != 2 {
		t.Fatalf("the invites are %+v, %v", all, err)
	}
	if got, err := s.Invites.Revoke(ctx, two.ID); err != nil || got.Note != two.Note || got.Used != 2 {
		t.Errorf("revoked %+v, %v", got, err)
	}
	for _, id := range []string{two.ID, "", "*", "0000000000000000", old.ID + "0"} {
		if _, err := s.Invites.Revoke(ctx, id); !errors.Is(err, ErrInvite) {
			t.Errorf("revoke %q: %v, want %v", id, err, ErrInvite)
		}
	}
	if err := register("late", secret); !errors.Is(err, ErrInvite) {
		t.Errorf("a revoked invite: %v", err)
	}
	if all, err = s.Invites.List(ctx); err != nil || len(all) != 1 || all[0].ID != old.ID {
		t.Errorf("after the revocation: %+v, %v", all, err)
	}
	if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
		t.Errorf("orphans: %+v, %v", f, err)
	}
}

// Many concurrent registrations on two nodes create exactly as many accounts as an invite allows.
func TestInviteIsNeverOverused(t *testing.T) {
	t.Parallel()
	srv := startServer(t, t.TempDir(), false)
	nodes := []*Store{openStore(t, connect(t, srv), Options{}), openStore(t, connect(t, srv), Options{})}
	ctx := testContext(t)
	const uses, tries = 5, 24
	invite, secret := mustInvite(t, nodes[0], Invite{Uses: uses})
	created := 0
	for i, err := range atOnce(tries, func(i int) error {
		s := nodes[i%2]
		return second(s.Users.Create(ctx, User{Account: fmt.Sprint("user", i)}, s.Invites.Use(secret)))
	}) {
		switch {
		case err == nil:
			created++
		case !errors.Is(err, ErrInvite) && !errors.Is(err, ErrConflict):
			t.Errorf("registration %d: %v", i, err)
		}
	}
	users, err := nodes[0].Users.Count(ctx)
	if err != nil || created != uses || users != uses {
		t.Errorf("%d registrations succeeded, %d accounts exist (%v), want %d", created, users, err, uses)
	}
	if all, err := nodes[1].Invites.List(ctx); err != nil || len(all) != 1 || all[0].ID != invite.ID || all[0].Used != uses {
		t.Errorf("the invites are %+v, %v", all, err)
	}
}
