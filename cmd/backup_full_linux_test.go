package cmd

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBackupOnFullDisk has the disk of the backups full. The server reports that, stays ready, and makes the backup once
// there is space.
func TestBackupOnFullDisk(t *testing.T) {
	t.Parallel()
	disk, dir := mountSmall(t, "size=2m"), t.TempDir()
	empty := fillBytes(t, disk)
	s := start(t, func(c *Config) {
		c.Data, c.NATS.Listen = filepath.Join(dir, "data"), "127.0.0.1:0"
		c.Backup = BackupConfig{Dir: filepath.Join(disk, "backups"), Every: 100 * time.Millisecond, Keep: 2} // retries as often
	})
	s.mayLog = []string{"the backup failed"}
	eventually(t, "failures in the status", func() bool {
		out := command(t, dir, "", "status").out // which exits with 1 from the first failure on
		return strings.Contains(out, "backup    failed at ") && strings.Contains(out, "no space left on device")
	})
	if text := httpBody(t, s.app.opsURL()+"/readyz"); text != "ok\n" {
		t.Errorf("/readyz: %s", text)
	}
	if text := httpBody(t, s.app.opsURL()+"/metrics"); strings.Contains(text, "imctl_backup_failures_total 0\n") ||
		!strings.Contains(text, "imctl_backup_last_success_timestamp_seconds 0\n") {
		t.Error("the metrics do not show the failure")
	}
	if !strings.Contains(s.log.String(), "level=ERROR msg=\"the backup failed") {
		t.Error("the log does not show the failure")
	}
	for _, name := range entriesOf(t, filepath.Join(disk, "backups")) {
		if !strings.HasPrefix(name, ".") { // of a retry in progress
			t.Errorf("a failed backup left %s", name)
		}
	}
	empty()
	awaitBackup(t, filepath.Join(disk, "backups"))
	reloadBackups(t, s, BackupConfig{Dir: filepath.Join(disk, "backups"), Every: day, Keep: 2})
	eventually(t, "no failure in the status", func() bool {
		return !strings.Contains(command(t, dir, "", "status").out, "failed at")
	})
}
