package kv

import (
	"errors"
	"slices"
	"testing"
)

// interrupt makes a change and writes its note, like a process that ends before the remaining steps.
func interrupt(t *testing.T, s *Store, note unfinished, writes ...write) {
	t.Helper()
	w, err := note.write(newNoteKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users.b.write(testContext(t), append([]write{w}, writes...)...); err != nil {
		t.Fatal(err)
	}
}

// mustComplete completes the unfinished changes.
func mustComplete(t *testing.T, s *Store, want Completed, deleting ...string) {
	t.Helper()
	done, ids, err := s.Users.CompleteUnfinished(testContext(t))
	if err != nil || done != want || !slices.Equal(ids, deleting) {
		t.Errorf("CompleteUnfinished = %+v, %q, %v; want %+v, %q", done, ids, err, want, deleting)
	}
}

// An interrupted rename leaves a key that finds no user. The next start removes it.
func TestInterruptedRename(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "Old")
	finds := func(name string, want int) {
		t.Helper()
		if found, err := s.Users.Find(ctx, name, 9, ""); err != nil || len(found) != want {
			t.Errorf("Find(%s) returned %d users, %v; want %d", name, len(found), err, want)
		}
	}
	// If the new name begins with the old one, the old key would be found before longer names.
	if _, err := s.Users.b.write(ctx, putAt(nameKey("ne", u.ID, 1), nil, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users.Update(ctx, u.ID, func(u *User) error { u.Name = "New"; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users.b.write(ctx, putAt(nameKey("old", u.ID, 0), nil, 0)); err != nil {
		t.Fatal(err)
	}
	interrupt(t, s, unfinished{Purge: []string{nameKey("old", u.ID, 0), nameKey("ne", u.ID, 1)}})
	other := mustCreate(t, s, "b", "Ne")
	finds("old", 0)
	finds("new", 1)
	if found, err := s.Users.Find(ctx, "ne", 9, ""); err != nil || names(found) != "Ne,New" || found[0] != other {
		t.Errorf("Find = %s, %v; want Ne,New", names(found), err)
	}
	for _, name := range []string{"Old", "New", "Old"} { // while the old key exists
		if _, err := s.Users.Update(ctx, u.ID, func(u *User) error { u.Name = name; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	finds("old", 1)
	finds("new", 0)
	mustComplete(t, s, Completed{Names: 2})
	mustComplete(t, s, Completed{})
	finds("old", 1)
	finds("new", 0)
	if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
		t.Errorf("Sweep = %+v, %v; want no findings", f, err)
	}
}

// After an interrupted deletion the account is free.
func TestInterruptedDelete(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	createDeleted := func(account string) User {
		t.Helper()
		u := mustCreate(t, s, account, "Gone")
		_, revision, err := s.Users.readRecord(ctx, u.ID, true)
		if err != nil {
			t.Fatal(err)
		}
		interrupt(t, s, unfinished{Purge: append(claimKeys(account), nameKey("gone", u.ID, 0))}, putAt(userKey(u.ID), nil, revision).asMarker())
		if _, err := s.Users.ByAccount(ctx, account); !errors.Is(err, ErrUserNotFound) {
			t.Errorf("ByAccount of a deleted account: %v, want %v", err, ErrUserNotFound)
		}
		if found, err := s.Users.Find(ctx, "gone", 9, ""); err != nil || len(found) != 0 {
			t.Errorf("Find = %s, %v; want none", names(found), err)
		}
		return u
	}
	createDeleted("a")
	registered := mustCreate(t, s, "a", "Again")
	restored := createDeleted("b")
	restored.Name = "Restored"
	if all := s.Users.Restore(ctx, []User{restored}); all[0].Err != nil || !all[0].Created || all[0].User != restored {
		t.Errorf("Restore = %+v", all)
	}
	createDeleted("c")
	mustComplete(t, s, Completed{Users: 3})
	for account, want := range map[string]User{"a": registered, "b": restored} {
		if u, err := s.Users.ByAccount(ctx, account); err != nil || u != want {
			t.Errorf("ByAccount(%s) = %+v, %v; want %+v", account, u, err, want)
		}
	}
	if n, err := s.Users.Count(ctx); err != nil || n != 2 {
		t.Errorf("Count = %d, %v; want 2", n, err)
	}
	if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
		t.Errorf("Sweep = %+v, %v; want no findings", f, err)
	}
}

// A start finds a deletion that has begun, until the deletion is complete or the user is enabled again.
func TestBeginDelete(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	enabled, deleted := mustCreate(t, s, "a", "A"), mustCreate(t, s, "b", "B")
	begin := func(u User, want bool) {
		t.Helper()
		got, wasEnabled, err := s.Users.BeginDelete(ctx, u.ID)
		if u.Disabled = true; err != nil || wasEnabled != want || got != u {
			t.Errorf("BeginDelete = %+v, %t, %v; want %+v, %t", got, wasEnabled, err, u, want)
		}
	}
	begin(enabled, true)
	begin(enabled, false)
	begin(deleted, true)
	mustComplete(t, s, Completed{}, enabled.ID, deleted.ID)
	if _, err := s.Users.Update(ctx, enabled.ID, func(u *User) error { u.Disabled = false; return nil }); err != nil {
		t.Fatal(err)
	}
	mustComplete(t, s, Completed{}, deleted.ID)
	if err := s.Users.Delete(ctx, deleted.ID); err != nil {
		t.Fatal(err)
	}
	mustComplete(t, s, Completed{})
	if got, err := s.Users.Get(ctx, enabled.ID); err != nil || got != enabled {
		t.Errorf("Get = %+v, %v; want %+v", got, err, enabled)
	}
	if notes, err := s.Users.notes(ctx); err != nil || len(notes) != 0 {
		t.Errorf("the notes are %+v, %v; want none", notes, err)
	}
	if _, _, err := s.Users.BeginDelete(ctx, deleted.ID); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("BeginDelete of a deleted user: %v, want %v", err, ErrUserNotFound)
	}
}
