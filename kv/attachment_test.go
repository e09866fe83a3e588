package kv

import (
	"errors"
	"reflect"
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
		t.Errorf("Add of an existing name: %v, want %v", err, ErrAttachmentExists)
	}
	if got, err := a.Check(ctx, "archive", secret); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Check = %+v, %v; want %+v", got, err, want)
	}
	refused := func(secretKind, name, secret string) {
		t.Helper()
		if at, err := a.Check(ctx, name, secret); !errors.Is(err, ErrAttachmentNotFound) {
			t.Errorf("Check of %s: %+v, %v; want %v", secretKind, at, err, ErrAttachmentNotFound)
		}
	}
	refused("a wrong secret", "archive", NewID())
	refused("no secret", "archive", "")
	refused("the secret's hash", "archive", hashSecret(secret))
	refused("a name of other case", "Archive", secret)
	refused("an invalid name", "archive.>", secret)

	rotated, next, err := a.Rotate(ctx, "archive")
	if err != nil || !reflect.DeepEqual(rotated, want) || next == secret {
		t.Fatalf("Rotate = %+v, %v; want %+v and a new secret", rotated, err, want)
	}
	refused("the old secret", "archive", secret)
	if _, err := a.Check(ctx, "archive", next); err != nil {
		t.Errorf("Check of the new secret: %v", err)
	}
	if _, _, err := a.Rotate(ctx, "nobody"); !errors.Is(err, ErrAttachmentNotFound) {
		t.Errorf("Rotate of a missing attachment: %v, want %v", err, ErrAttachmentNotFound)
	}

	if _, err := a.Revoke(ctx, "archive"); err != nil {
		t.Fatal(err)
	}
	refused("a revoked secret", "archive", next)
	refused("no secret after the revocation", "archive", "")
	if got, err := a.Get(ctx, "archive"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Get of a revoked attachment = %+v, %v; want %+v", got, err, want)
	}
	for range 2 {
		if err := a.Remove(ctx, "archive"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Get(ctx, "archive"); !errors.Is(err, ErrAttachmentNotFound) {
		t.Errorf("Get of a removed attachment: %v, want %v", err, ErrAttachmentNotFound)
	}
	if _, _, err := a.Add(ctx, Attachment{Name: "archive", Role: RoleAdmin}); err != nil {
		t.Errorf("Add of a removed name: %v", err)
	}
	if n, err := s.Users.Count(ctx); err != nil || n != 1 {
		t.Errorf("Count = %d, %v; want 1", n, err)
	}
}

func TestAttachmentList(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx, a := testContext(t), s.Attachments
	if all, err := a.List(ctx); err != nil || len(all) != 0 {
		t.Fatalf("List = %v, %v; want none", all, err)
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
		t.Errorf("List = %+v, %v; want a, b and c", all, err)
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
			t.Errorf("Add of the name %q: %v", name, err)
		}
	}
}

// Of several concurrent calls of Add with one name, one succeeds, and only its secret is valid.
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
			t.Errorf("Add: %v, Check of its secret: %v", err, check)
		}
	}
	if won != 1 {
		t.Errorf("%d calls succeeded, want 1", won)
	}
}
