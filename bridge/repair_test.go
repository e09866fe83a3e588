package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/kv"
)

// shutDown ends a bridge before the end of the test.
func shutDown(t testing.TB, b *Bridge) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestRepair interrupts deletions and changes of attachments after each step. The next start completes them and
// logs one line, or no line if there was nothing to complete.
func TestRepair(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	start := func() (*Bridge, *natstest.Log) {
		log := new(natstest.Log)
		return startBridge(t, url, eventlog.Options{}, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) }), log
	}
	b, _ := start()
	ctx, store := t.Context(), b.opts.Store
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
		if _, err := store.Tokens.Issue(ctx, u.ID, "session", kv.Origin{}); err != nil {
			t.Fatal(err)
		}
		for _, step := range steps[:n+1] {
			if err := step(u.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := store.Attachments.Prepare(ctx, kv.Attachment{Name: "pending", Role: kv.RoleConsumer, Filter: ">"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kept", "revoked"} {
		if _, _, err := b.services.Attachments.Add(ctx, name, kv.RoleConsumer, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Attachments.Revoke(ctx, "revoked"); err != nil {
		t.Fatal(err)
	}
	if all, err := b.services.Attachments.List(ctx); err != nil || len(all) != 2 {
		t.Errorf("a pending attachment is listed: %v, %v", all, err)
	}
	shutDown(t, b)

	b, log := start()
	store = b.opts.Store
	if n := strings.Count(log.String(), `msg="repaired after an unclean stop" users=3 names=0 attachments=2`); n != 1 {
		t.Errorf("the repair was logged %d times, want once:\n%s", n, log)
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
	if all, err := b.services.Attachments.List(ctx); err != nil || len(all) != 1 || all[0].Name != "kept" {
		t.Errorf("unexpected attachments: %+v, %v", all, err)
	}
	if f, err := store.Sweep(ctx, true); err != nil || f != (kv.Findings{}) {
		t.Errorf("a sweep found orphaned records: %+v, %v", f, err)
	}
	shutDown(t, b)

	_, log = start()
	if strings.Contains(log.String(), "repaired") {
		t.Errorf("a start without repairs logged:\n%s", log)
	}
}
