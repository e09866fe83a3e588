package kv

import (
	"errors"
	"testing"
	"time"
)

// TestBackups claims backups for two servers, and notes their outcomes.
func TestBackups(t *testing.T) {
	t.Parallel()
	states := newStore(t, Options{}).States
	always := func(BackupRecord) bool { return true }
	until := time.Now().Add(time.Hour)
	if ok, err := states.ClaimBackup(t.Context(), "another", until, always); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := states.ClaimBackup(t.Context(), "me", until, always); !errors.Is(err, ErrBackupClaimed) {
		t.Errorf("a second claim: %v", err)
	}
	if err := states.ExtendBackup(t.Context(), "me", until); !errors.Is(err, ErrBackupClaimed) {
		t.Errorf("extended the claim of another: %v", err)
	}
	if err := states.ReleaseBackup(t.Context(), "me"); err != nil { // does nothing
		t.Error(err)
	}
	if err := states.ExtendBackup(t.Context(), "another", time.Now().Add(-time.Second)); err != nil {
		t.Error(err)
	}
	if ok, err := states.ClaimBackup(t.Context(), "me", until, always); !ok || err != nil {
		t.Errorf("a claim after the end of another: %v, %v", ok, err)
	}
	if err := states.BackupFailed(t.Context(), "me", "me", time.Now(), "reason"); err != nil {
		t.Error(err)
	}
	if err := states.BackupFailed(t.Context(), "me", "me", time.Now(), "reason"); err != nil {
		t.Error(err)
	}
	r, err := states.Backups(t.Context())
	if err != nil || r.Holder != "" || r.Failed == nil || r.Failed.Count != 2 || r.Last != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := states.BackupDone(t.Context(), "me", Backup{Maker: "me"}); err != nil {
		t.Error(err)
	}
	if r, err := states.Backups(t.Context()); err != nil || r.Failed != nil || r.Last == nil {
		t.Errorf("got %+v, %v", r, err)
	}
	if ok, err := states.ClaimBackup(t.Context(), "me", until, func(r BackupRecord) bool { return r.Last == nil }); ok || err != nil {
		t.Errorf("claimed a backup that is not due: %v, %v", ok, err)
	}
}
