package kv

import (
	"errors"
	"strings"
	"testing"
)

func TestAttachments(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx, a := testContext(t), s.Attachments
	mustCreate(t, s, "archive", "archive") // another kind of key in the same bucket
	want, secret, err := a.Add(ctx, Attachment{Name: "archive", Role: RoleConsumer, Filter: "dialogue.>"})
	if err != nil {
		t.Fatal(err)
	}
	if len(secret) < 32 || want.Created.IsZero() {
		t.Errorf("secret of %d characters, created %v", len(secret), want.Created)
	}
	if _, _, err := a.Add(ctx, Attachment{Name: "archive", Role: RoleAdmin}); !errors.Is(err, ErrAttachmentExists) {
		t.Errorf("the same name again: %v", err)
	}
	if got, err := a.Check(ctx, "archive", secret); err != nil || got != want {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	refused := func(when, name, secret string) {
		t.Helper()
		if at, err := a.Check(ctx, name, secret); !errors.Is(err, ErrAttachmentNotFound) {
			t.Errorf("%s: %+v, %v", when, at, err)
		}
	}
	refused("a wrong secret", "archive", NewID())
	refused("no secret", "archive", "")
	refused("the secret's hash", "archive", hashSecret(secret))
	refused("another's name", "Archive", secret)
	refused("a name that is none", "archive.>", secret)

	again, next, err := a.Rotate(ctx, "archive")
	if err != nil || again != want || next == secret {
		t.Fatalf("rotated to %+v, %v", again, err)
	}
	refused("the old secret", "archive", secret)
	if _, err := a.Check(ctx, "archive", next); err != nil {
		t.Errorf("the new secret: %v", err)
	}
	if _, _, err := a.Rotate(ctx, "nobody"); !errors.Is(err, ErrAttachmentNotFound) {
		t.Errorf("rotate what is not there: %v", err)
	}

	if _, err := a.Revoke(ctx, "archive"); err != nil {
		t.Fatal(err)
	}
	refused("a revoked secret", "archive", next)
	refused("no secret where none is good", "archive", "")
	if got, err := a.Get(ctx, "archive"); err != nil || got != want {
		t.Errorf("revoked: %+v, %v", got, err)
	}
	for range 2 {
		if err := a.Remove(ctx, "archive"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Get(ctx, "archive"); !errors.Is(err, ErrAttachmentNotFound) {
		t.Errorf("removed: %v", err)
	}
	if _, _, err := a.Add(ctx, Attachment{Name: "archive", Role: RoleAdmin}); err != nil {
		t.Errorf("a name that is free again: %v", err)
	}
	if n, err := s.Users.Count(ctx); err != nil || n != 1 {
		t.Errorf("%d users (%v)", n, err)
	}
}

func TestAttachmentList(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx, a := testContext(t), s.Attachments
	if all, err := a.List(ctx); err != nil || len(all) != 0 {
		t.Fatalf("of none: %v, %v", all, err)
	}
	for _, name := range []string{"c", "a", "b"} {
		if _, _, err := a.Add(ctx, Attachment{Name: name, Role: RoleBridge}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := a.Rotate(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	all, err := a.List(ctx)
	if err != nil || len(all) != 3 || all[0].Name != "a" || all[1].Name != "b" || all[2].Name != "c" {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestAttachmentNames(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	for name, ok := range map[string]bool{
		"a": true, "Archive_2-b": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a.b": false, "*": false, ">": false, "a b": false, "ä": false, "a\n": false,
	} {
		_, _, err := s.Attachments.Add(testContext(t), Attachment{Name: name, Role: RoleBridge})
		if ok != (err == nil) || !ok && !errors.Is(err, ErrAttachmentInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Of many who take a name at once one gets it, and only its secret is good.
func TestAttachmentRace(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	secrets := make([]string, 8)
	errs := atOnce(len(secrets), func(i int) (err error) {
		_, secrets[i], err = s.Attachments.Add(ctx, Attachment{Name: "one", Role: RoleBridge})
		return err
	})
	won := 0
	for i, err := range errs {
		_, check := s.Attachments.Check(ctx, "one", secrets[i])
		if err == nil {
			won++
		} else if !errors.Is(err, ErrAttachmentExists) {
			t.Error(err)
		}
		if (err == nil) != (check == nil) {
			t.Errorf("added: %v, its secret: %v", err, check)
		}
	}
	if won != 1 {
		t.Errorf("%d got the name", won)
	}
}
