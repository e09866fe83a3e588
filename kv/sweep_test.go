package kv

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Sweep removes the keys of users that do not exist, and no other keys.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	john, mary := mustCreate(t, s, "john", "John"), mustCreate(t, s, "mary", "Mary")
	missing, lost := NewID(), User{ID: NewID(), Account: "lost", Profile: Profile{Name: "Lost"}}
	seedUser(t, s, lost)
	seedRosters(t, s, map[string]Roster{
		john.ID: {Friends: []Friend{{ID: mary.ID}, {ID: missing}}, Asked: []string{lost.ID}},
		mary.ID: {Friends: []Friend{{ID: john.ID}}},
		missing: {Friends: []Friend{{ID: john.ID}}},
		lost.ID: {Requests: []Request{{From: john.ID}}},
	})
	_, err := s.Users.b.write(ctx, putAt(accountKey("missing"), []byte(missing), 0))
	deleted := mustCreate(t, s, "deleted", "Deleted")
	err = errors.Join(err, s.Users.b.purge(ctx, accountKey("lost"), 0),
		s.Resets.Put(ctx, missing, "hash", 1, 1), s.MailCodes.Put(ctx, missing, "hash", 1, 1), s.MailCodes.Put(ctx, john.ID, "hash", time.Minute, 1),
		s.Users.Delete(ctx, deleted.ID))
	_, tokenErr := s.Tokens.Issue(ctx, missing, "session", Origin{})
	_, writeErr := s.Users.b.write(ctx, putAt(nameKey("other", john.ID, 0), nil, 0), putAt(accountKey("deleted"), []byte(deleted.ID), 0))
	cursor := []Cursor{{With: mary.ID, Last: 1}}
	cursorsErr := errors.Join(s.Cursors.Advance(ctx, missing, cursor), s.Cursors.Advance(ctx, john.ID, cursor))
	if err := errors.Join(err, tokenErr, writeErr, cursorsErr); err != nil {
		t.Fatal(err)
	}
	// The user of the claim "missing" has no record, not even a deleted one. The claim "deleted" was written after
	// the deletion. A user that was asked and does not exist is no finding.
	want := Findings{Users: 1, Accounts: 2, Names: 2, Resets: 2, Rosters: 2, Cursors: 1, Friends: 1, Tokens: 1}
	for _, dry := range []bool{true, false} {
		if f, err := s.Sweep(ctx, dry); err != nil || f != want {
			t.Errorf("Sweep with dry %t = %+v, %v; want %+v", dry, f, err, want)
		}
	}
	if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
		t.Errorf("a second Sweep = %+v, %v; want no findings", f, err)
	}
	if hash, err := s.MailCodes.Try(ctx, john.ID); err != nil || hash != "hash" {
		t.Errorf("the code of an existing user: %q, %v", hash, err)
	}
	if cursors, err := s.Cursors.Get(ctx, john.ID); err != nil || len(cursors) != 1 {
		t.Errorf("the cursors of an existing user: %v, %v", cursors, err)
	}
	checkRosters(t, s)
	if r := mustGet(t, s, john.ID); len(r.Friends) != 1 || len(r.Asked) != 0 {
		t.Errorf("the roster is %+v", r)
	}
	for _, u := range []User{john, mary} {
		if got, err := s.Users.ByAccount(ctx, u.Account); err != nil || got != u {
			t.Errorf("ByAccount = %+v, %v; want %+v", got, err, u)
		}
	}
}

// A sweep on a running server does not remove keys of a change in progress.
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
		t.Errorf("Count = %d, %v; want 30", n, err)
	}
	if found, err := s.Users.Find(ctx, "Another", 50, ""); err != nil || len(found) != 30 {
		t.Errorf("Find returned %d users, %v; want 30", len(found), err)
	}
}

// A user is known whatever the order of its keys. If keys contradict each other, the user does not exist.
func TestKnownUsers(t *testing.T) {
	t.Parallel()
	id := NewID()
	record := func(account string) entry {
		return entry{key: userKey(id), value: fmt.Appendf(nil, `{"account":%q}`, account)}
	}
	claim := func(account string) entry { return entry{key: accountKey(account), value: []byte(id)} }
	deleted := entry{key: userKey(id), deleted: true}
	for name, c := range map[string]struct {
		keys []entry
		want bool
	}{
		"claim first":                  {[]entry{claim("a"), record("a")}, true},
		"record first":                 {[]entry{record("a"), claim("a")}, true},
		"no claim":                     {[]entry{record("a")}, false},
		"no record":                    {[]entry{claim("a")}, false},
		"the claim of another account": {[]entry{claim("b"), record("a")}, false},
		"a second claim":               {[]entry{record("a"), claim("b"), claim("a")}, true},
		"deleted":                      {[]entry{claim("a"), record("a"), deleted}, false},
		"an old claim first":           {[]entry{claim("b"), claim("a"), record("a")}, false}, // lookUp reads it again
	} {
		f := newOrphanFinder(nil)
		for _, e := range c.keys {
			if err := f.addKey(e); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.exists(id); got != c.want {
			t.Errorf("%s: exists = %t, want %t", name, got, c.want)
		}
	}
}
