package kv

import (
	"errors"
	"testing"
)

// A restore replaces the buckets in use. For a node that switches, all revisions of the new buckets are higher than
// those of the old ones.
func TestStage(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	nc := connect(t, startServer(t, t.TempDir(), false))
	s := openStore(t, nc, Options{Talks: &TalksOptions{}})
	alice, bob := mustCreate(t, s, "alice", "Alice"), mustCreate(t, s, "bob", "Bob")
	if _, err := s.Rosters.Befriend(ctx, alice.ID, bob.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Cursors.Advance(ctx, alice.ID, []Cursor{{With: bob.ID, Last: 7}}); err != nil {
		t.Fatal(err)
	}
	staging, err := Stage(ctx, nc, nc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := staging.Fill(ctx, func(int) {})
	if err != nil || got.Users != 2 {
		t.Fatalf("Fill = %+v, %v; want 2 users", got, err)
	}
	late := mustCreate(t, s, "late", "Late")
	_, before, err := s.Rosters.Get(ctx, alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := staging.Commit(ctx, now(), StagedStreams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, nc, Options{}); !errors.Is(err, ErrRestoreUnfinished) {
		t.Errorf("Open: %v, want %v", err, ErrRestoreUnfinished)
	}
	if _, err := Stage(ctx, nc, nc, Options{}); !errors.Is(err, ErrRestoreUnfinished) {
		t.Errorf("Stage: %v, want %v", err, ErrRestoreUnfinished)
	}
	state, err := s.States.Get(ctx)
	if err == nil {
		err = s.States.RemoveReplaced(ctx, *state.Restore)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Users.Create(ctx, User{Account: "too late"}); err == nil {
		t.Error("Create succeeded in a removed bucket")
	}
	if state, err = s.States.FinishRestore(ctx); err != nil || s.InUse(state) {
		t.Fatalf("FinishRestore = %+v, %v; want other buckets in use", state, err)
	}
	if err := s.SwitchTo(ctx, state); err != nil || !s.InUse(state) {
		t.Fatal(err)
	}
	if cursors, err := s.Cursors.Get(ctx, alice.ID); err != nil || cursors[bob.ID].Last != 7 {
		t.Errorf("cursors %+v, %v; want those of before", cursors, err)
	}
	roster, after, err := s.Rosters.Get(ctx, alice.ID)
	if _, friends := roster.Friend(bob.ID); err != nil || !friends || after <= before {
		t.Errorf("friends %t, revision %d after %d, %v; want friends and a higher revision", friends, after, before, err)
	}
	if _, err := s.Users.Get(ctx, late.ID); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("Get of an account created after the staging: %v, want %v", err, ErrUserNotFound)
	}
	if n, err := openStore(t, nc, Options{}).Users.Count(ctx); err != nil || n != 2 {
		t.Errorf("Count = %d, %v; want 2", n, err)
	}
}

// A running server that switches to restored buckets of format 1 writes the claims that they lack.
func TestSwitchToOlderFormat(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	nc, backup := connect(t, startServer(t, t.TempDir(), false)), connect(t, startServer(t, t.TempDir(), false))
	s, old := openStore(t, nc, Options{}), openStore(t, backup, Options{})
	u := User{ID: NewID(), Account: "alice", Created: now()}
	seedUser(t, old, u)
	if _, err := old.States.Update(ctx, func(state *State) error { state.Format = 1; return nil }); err != nil {
		t.Fatal(err)
	}
	staging, err := Stage(ctx, backup, nc, Options{})
	if err == nil {
		_, err = staging.Fill(ctx, func(int) {})
	}
	if err == nil {
		err = staging.Commit(ctx, now(), StagedStreams{})
	}
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.States.FinishRestore(ctx)
	if err != nil || state.Format != 1 {
		t.Fatalf("FinishRestore = %+v, %v; want format 1", state, err)
	}
	if err := s.SwitchTo(ctx, state); err != nil {
		t.Fatal(err)
	}
	if state, err := s.States.Get(ctx); err != nil || state.Format != currentFormat || !s.InUse(state) {
		t.Errorf("the state is %+v, %v; want format %d, in use", state, err, currentFormat)
	}
	if got, err := s.Users.ByAccount(ctx, "alice"); err != nil || got != u {
		t.Errorf("ByAccount = %+v, %v; want %+v", got, err, u)
	}
	if _, err := s.Users.Create(ctx, User{Account: "аlice"}); !errors.Is(err, ErrAccountLooksAlike) {
		t.Errorf("Create of a look-alike: %v, want %v", err, ErrAccountLooksAlike)
	}
}

// The later one of two restores replaces the other.
func TestStageOvertaken(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	nc := connect(t, startServer(t, t.TempDir(), false))
	mustCreate(t, openStore(t, nc, Options{}), "alice", "Alice")
	first, err := Stage(ctx, nc, nc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Fill(ctx, func(int) {}); err != nil {
		t.Fatal(err)
	}
	second, err := Stage(ctx, nc, nc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(ctx, now(), StagedStreams{}); !errors.Is(err, ErrRestoreOvertaken) {
		t.Errorf("Commit of the first restore: %v, want %v", err, ErrRestoreOvertaken)
	}
	if err := first.Abandon(ctx); err != nil {
		t.Error(err)
	}
	if _, err := second.Fill(ctx, func(int) {}); err != nil {
		t.Fatal(err)
	}
	if err := second.Commit(ctx, now(), StagedStreams{}); err != nil {
		t.Error(err)
	}
}
