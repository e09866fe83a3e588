package kv

import (
	"errors"
	"slices"
	"testing"
)

// cutOff makes a change and leaves its note, as a process that ends before the remaining steps.
func cutOff(t *testing.T, s *Store, note unfinished, writes ...write) {
	t.Helper()
	w, err := note.write(newNoteKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users.b.write(testContext(t), append([]write{w}, writes...)...); err != nil {
		t.Fatal(err)
	}
}

func mustFinish(t *testing.T, s *Store, want Completed, deleting ...string) {
	t.Helper()
	done, ids, err := s.Users.CompleteUnfinished(testContext(t))
	if err != nil || done != want || !slices.Equal(ids, deleting) {
		t.Errorf("finished %+v, deleting %q, %v; want %+v and %q", done, ids, err, want, deleting)
	}
}

// A rename that was cut off leaves a key that finds no user, and the next start removes it.
func TestRenameCutOff(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "Old")
	finds := func(name string, want int) {
		t.Helper()
		if found, err := s.Users.Find(ctx, name, 9, ""); err != nil || len(found) != want {
			t.Errorf("%s finds %d, %v; want %d", name, len(found), err, want)
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
	cutOff(t, s, unfinished{Purge: []string{nameKey("old", u.ID, 0), nameKey("ne", u.ID, 1)}})
	whole := mustCreate(t, s, "b", "Ne")
	finds("old", 0)
	finds("new", 1)
	if found, err := s.Users.Find(ctx, "ne", 9, ""); err != nil || names(found) != "Ne,New" || found[0] != whole {
		t.Errorf("found %s, %v", names(found), err)
	}
	for _, name := range []string{"Old", "New", "Old"} { // while the old key is there
		if _, err := s.Users.Update(ctx, u.ID, func(u *User) error { u.Name = name; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	finds("old", 1)
	finds("new", 0)
	mustFinish(t, s, Completed{Names: 2})
	mustFinish(t, s, Completed{})
	finds("old", 1)
	finds("new", 0)
	if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
		t.Errorf("a sweep finds %+v, %v", f, err)
	}
}

// A deletion that was cut off after its first step leaves an account that is free.
func TestDeleteCutOff(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	gone := func(account string) User {
		t.Helper()
		u := mustCreate(t, s, account, "Gone")
		_, revision, err := s.Users.readRecord(ctx, u.ID, true)
		if err != nil {
			t.Fatal(err)
		}
		cutOff(t, s, unfinished{Purge: []string{accountKey(account), nameKey("gone", u.ID, 0)}}, putAt(userKey(u.ID), nil, revision).asMarker())
		if _, err := s.Users.ByAccount(ctx, account); !errors.Is(err, ErrUserNotFound) {
			t.Errorf("a deleted account: %v", err)
		}
		if found, err := s.Users.Find(ctx, "gone", 9, ""); err != nil || len(found) != 0 {
			t.Errorf("found %s, %v", names(found), err)
		}
		return u
	}
	gone("a")
	again := mustCreate(t, s, "a", "Again")
	restored := gone("b")
	restored.Name = "Restored"
	if all := s.Users.Restore(ctx, []User{restored}); all[0].Err != nil || !all[0].Created || all[0].User != restored {
		t.Errorf("restored %+v", all)
	}
	gone("c")
	mustFinish(t, s, Completed{Users: 3})
	for account, want := range map[string]User{"a": again, "b": restored} {
		if u, err := s.Users.ByAccount(ctx, account); err != nil || u != want {
			t.Errorf("%s is %+v, %v", account, u, err)
		}
	}
	if n, err := s.Users.Count(ctx); err != nil || n != 2 {
		t.Errorf("%d users, %v", n, err)
	}
	if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
		t.Errorf("a sweep finds %+v, %v", f, err)
	}
}

// A deletion that has begun is found by a start until it is done, or the user is enabled again.
func TestBeginDelete(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	stays, goes := mustCreate(t, s, "a", "A"), mustCreate(t, s, "b", "B")
	begin := func(u User, want bool) {
		t.Helper()
		got, enabled, err := s.Users.BeginDelete(ctx, u.ID)
		if u.Disabled = true; err != nil || enabled != want || got != u {
			t.Errorf("%+v, %t, %v", got, enabled, err)
		}
	}
	begin(stays, true)
	begin(stays, false)
	begin(goes, true)
	mustFinish(t, s, Completed{}, stays.ID, goes.ID)
	if _, err := s.Users.Update(ctx, stays.ID, func(u *User) error { u.Disabled = false; return nil }); err != nil {
		t.Fatal(err)
	}
	mustFinish(t, s, Completed{}, goes.ID)
	if err := s.Users.Delete(ctx, goes.ID); err != nil {
		t.Fatal(err)
	}
	mustFinish(t, s, Completed{})
	if got, err := s.Users.Get(ctx, stays.ID); err != nil || got != stays {
		t.Errorf("%+v, %v", got, err)
	}
	if notes, err := s.Users.notes(ctx); err != nil || len(notes) != 0 {
		t.Errorf("notes %+v, %v", notes, err)
	}
	if _, _, err := s.Users.BeginDelete(ctx, goes.ID); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("of a deleted user: %v", err)
	}
}

// A sweep removes the keys of users who do not exist, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	john, mary := mustCreate(t, s, "john", "John"), mustCreate(t, s, "mary", "Mary")
	nobody, lost := NewID(), User{ID: NewID(), Account: "lost", Profile: Profile{Name: "Lost"}}
	seedUser(t, s, lost)
	seedRosters(t, s, map[string]Roster{
		john.ID: {Friends: []Friend{{ID: mary.ID}, {ID: nobody}}, Asked: []string{lost.ID}},
		mary.ID: {Friends: []Friend{{ID: john.ID}}},
		nobody:  {Friends: []Friend{{ID: john.ID}}},
		lost.ID: {Requests: []Request{{From: john.ID}}},
	})
	_, err := s.Users.b.write(ctx, putAt(accountKey("nobody"), []byte(nobody), 0))
	deleted := mustCreate(t, s, "deleted", "Deleted")
	err = errors.Join(err, s.Users.b.purge(ctx, accountKey("lost"), 0),
		s.Resets.Put(ctx, nobody, "hash", 1, 1), s.Users.Delete(ctx, deleted.ID))
	_, token := s.Tokens.Issue(ctx, nobody, "session")
	_, wrote := s.Users.b.write(ctx, putAt(nameKey("other", john.ID, 0), nil, 0), putAt(accountKey("deleted"), []byte(deleted.ID), 0))
	if err := errors.Join(err, token, wrote); err != nil {
		t.Fatal(err)
	}
	// The claim of "nobody" has no record, not even a deleted one; that of "deleted" is younger than the deletion.
	want := Findings{Users: 1, Accounts: 2, Names: 2, Resets: 1, Rosters: 2, Friends: 2, Tokens: 1}
	for _, dry := range []bool{true, false} {
		if f, err := s.Sweep(ctx, dry); err != nil || f != want {
			t.Errorf("dry %t: found %+v, %v; want %+v", dry, f, err, want)
		}
	}
	if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
		t.Errorf("a second sweep finds %+v, %v", f, err)
	}
	checkRosters(t, s)
	if r := mustGet(t, s, john.ID); len(r.Friends) != 1 || len(r.Asked) != 0 {
		t.Errorf("the roster is %+v", r)
	}
	for _, u := range []User{john, mary} {
		if got, err := s.Users.ByAccount(ctx, u.Account); err != nil || got != u {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// A sweep on a running server does not remove keys of a change that is under way.
func TestSweepWhileChanging(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	for i, err := range atOnce(4, func(i int) error {
		if i == 0 {
			for range 10 {
				if _, err := s.Sweep(ctx, false); err != nil {
					return err
				}
			}
			return nil
		}
		for n := range 15 {
			u, err := s.Users.Create(ctx, User{Account: NewID(), Profile: Profile{Name: "One"}})
			if err == nil {
				_, err = s.Users.Update(ctx, u.ID, func(u *User) error { u.Name = "Another"; return nil })
			}
			if err == nil && n%3 == 0 {
				err = s.Users.Delete(ctx, u.ID)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if n, err := s.Users.Count(ctx); err != nil || n != 30 {
		t.Errorf("%d users, %v", n, err)
	}
	if found, err := s.Users.Find(ctx, "Another", 50, ""); err != nil || len(found) != 30 {
		t.Errorf("found %d, %v", len(found), err)
	}
}
