package cmd

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"imctl/kv"
)

// TestRepair interrupts deletions after each step. The next start completes them and logs one line, or no line if
// there was nothing to complete.
func TestRepair(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	on := func(c *Config) { c.Data = data }
	s := start(t, on)
	ctx, store := t.Context(), s.app.backend.store
	create := func(account string) kv.User {
		t.Helper()
		u, err := store.Users.Create(ctx, kv.User{Account: account, Profile: kv.Profile{Name: "Name of " + account}})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	stays := create("stays")
	steps := []func(id string) error{
		func(id string) error { _, _, err := store.Users.BeginDelete(ctx, id); return err },
		func(id string) error { return store.Tokens.RevokeAll(ctx, id) },
		func(id string) error { _, err := store.Rosters.RemoveUser(ctx, id); return err },
		func(id string) error { return store.Users.Delete(ctx, id) },
	}
	for n := range steps {
		u := create(fmt.Sprint("gone", n))
		if _, err := store.Rosters.Befriend(ctx, stays.ID, u.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Tokens.Issue(ctx, u.ID, "session"); err != nil {
			t.Fatal(err)
		}
		for _, step := range steps[:n+1] {
			if err := step(u.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.close(t)

	s = start(t, on)
	store = s.app.backend.store
	if n := strings.Count(s.log.String(), `msg="repaired after an unclean stop" users=3 names=0 attachments=0`); n != 1 {
		t.Errorf("the repair was logged %d times, want once:\n%s", n, s.log)
	}
	for n := range steps {
		if _, err := store.Users.ByAccount(ctx, fmt.Sprint("gone", n)); !errors.Is(err, kv.ErrUserNotFound) {
			t.Errorf("interrupted after step %d: %v", n, err)
		}
	}
	if r, _, err := store.Rosters.Get(ctx, stays.ID); err != nil || len(r.Friends) != 0 {
		t.Errorf("unexpected roster: %+v, %v", r, err)
	}
	if n, err := store.Users.Count(ctx); err != nil || n != 1 {
		t.Errorf("%d users, %v", n, err)
	}
	if f, err := store.Sweep(ctx, true); err != nil || f != (kv.Findings{}) {
		t.Errorf("a sweep found orphaned records: %+v, %v", f, err)
	}
	// An account that is enabled during its deletion can have friends again.
	back, err := store.Users.Create(ctx, kv.User{Account: "back"})
	if err == nil {
		_, _, err = store.Users.BeginDelete(ctx, back.ID)
	}
	if err == nil {
		_, err = store.Rosters.RemoveUser(ctx, back.ID)
	}
	if err == nil {
		err = s.services().Accounts.SetDisabled(ctx, back.ID, false)
	}
	if err == nil {
		_, err = store.Rosters.Befriend(ctx, stays.ID, back.ID)
	}
	if err != nil {
		t.Error(err)
	}
	s.close(t)

	s = start(t, on)
	if text := s.log.String(); strings.Contains(text, "repaired") {
		t.Errorf("a start without repairs logged:\n%s", text)
	}
}
