package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"imctl/kv"
)

// reloadBackups reloads the configuration of a server with other settings of backups.
func reloadBackups(t *testing.T, s *server, b BackupConfig) {
	t.Helper()
	c := *s.app.config
	c.Backup = b
	s.app.Reload(t.Context(), &c)
}

// awaitBackup waits for the first backup in a directory, and returns its path.
func awaitBackup(t *testing.T, dir string) string {
	t.Helper()
	d := backupDir{path: dir, prefix: "im"}
	var found foundBackup
	eventually(t, "a backup in "+dir, func() bool {
		var err error
		found, err = d.newest()
		return err == nil && found.name != ""
	})
	return d.file(found.name)
}

// TestScheduledBackups makes backups in a running server, plain ones and, after a reload, encrypted ones in another
// directory. Both have the same data as the server.
func TestScheduledBackups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain, sealed := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed")
	own := func(c *Config) { c.Data, c.NATS.Listen = filepath.Join(dir, "data"), "127.0.0.1:0" }
	s := start(t, own)
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Fatalf("answered %d", code)
	}
	w.close(t)
	s.close(t) // which writes the cursors of conversations
	s = start(t, own)
	if text := httpBody(t, s.app.opsURL()+"/metrics"); strings.Contains(text, "imctl_backup_") {
		t.Error("metrics of backups without backup.dir")
	}
	people := exportedLines(t, dir)
	reloadBackups(t, s, BackupConfig{Dir: plain, Every: day, Keep: 7})
	file := awaitBackup(t, plain)
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("backup: %v, %v", info, err)
	}
	eventually(t, "the backup in the status", func() bool { return strings.Contains(command(t, dir, "", "status").want(t, exitDone).out, file) })
	command(t, dir, "", "status", "-o", "json").want(t, exitDone, `"backup":{"last":{"time":`)
	text := httpBody(t, s.app.opsURL()+"/metrics")
	if strings.Contains(text, "imctl_backup_last_success_timestamp_seconds 0\n") || !strings.Contains(text, "imctl_backup_last_size_bytes ") ||
		!strings.Contains(text, "imctl_backup_failures_total 0\n") {
		t.Error("the metrics do not show the backup")
	}

	recipient := newAgeKey(t, dir, "key.txt")
	reloadBackups(t, s, BackupConfig{Dir: sealed, Every: day, Keep: 7, Recipients: []string{recipient}})
	secret := awaitBackup(t, sealed)
	s.close(t)
	command(t, dir, "", "restore", file, "--data", "one").want(t, exitDone)
	command(t, dir, "", "restore", secret, "--identity", "key.txt", "--data", "two").want(t, exitDone)
	for _, data := range []string{"one", "two"} {
		wantUsers(t, exportedLines(t, dir, "--data", data), people)
		command(t, dir, "", "check", "--data", data, "--dry-run").want(t, exitDone)
	}

	// A start does not make another backup before it is due.
	again := start(t, func(c *Config) {
		c.Data, c.Backup = filepath.Join(dir, "data"), BackupConfig{Dir: sealed, Every: day, Keep: 7, Recipients: []string{recipient}}
	})
	eventually(t, "the server has read when the last backup was made", func() bool { return again.app.backups.last.Load() != nil })
	if got := entriesOf(t, sealed); len(got) != 1 {
		t.Errorf("after the start: %v", got)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	reloadBackups(t, again, BackupConfig{Dir: sealed, Every: day, Keep: 7, Recipients: []string{recipient}})
	awaitBackup(t, sealed)
}

// TestOneOfTwoBacksUp runs two servers on one NATS, which have a directory each. One of them makes the backup.
func TestOneOfTwoBacksUp(t *testing.T) {
	t.Parallel()
	address, dir := startExternalNATS(t).url, t.TempDir()
	var servers []*server
	for i := range 2 {
		servers = append(servers, start(t, func(c *Config) {
			c.NATS.URL, c.Data = address, filepath.Join(dir, fmt.Sprint("data", i))
			c.Backup.Dir = filepath.Join(dir, fmt.Sprint("backups", i))
		}))
	}
	made := func() int {
		return len(entriesOf(t, filepath.Join(dir, "backups0"))) + len(entriesOf(t, filepath.Join(dir, "backups1")))
	}
	for _, s := range servers {
		eventually(t, "the server knows of the backup", func() bool {
			s.app.backups.set(s.app.config) // instead of its timer
			return s.app.backups.last.Load() != nil
		})
	}
	if n := made(); n != 1 {
		t.Errorf("%d backups, want 1", n)
	}
	command(t, dir, "", "status", "--nats", address).want(t, exitDone, "backup  ", "backups0")
}

// TestBackupDue checks when a server makes the next backup.
func TestBackupDue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeIn(t, dir, "last.tar", "")
	now := time.Now()
	c := Defaults()
	c.Backup.Dir = dir
	last := func(age time.Duration, maker, file string) *kv.Backup {
		return &kv.Backup{Time: now.Add(-age), Maker: maker, File: filepath.Join(dir, file)}
	}
	failed := func(age time.Duration, maker string, count int) *kv.BackupFailure {
		return &kv.BackupFailure{Time: now.Add(-age), Maker: maker, Count: count}
	}
	for name, test := range map[string]struct {
		record kv.BackupRecord
		alone  bool
		wait   time.Duration // 0: due now
	}{
		"no backup":                  {kv.BackupRecord{}, false, 0},
		"own":                        {kv.BackupRecord{Last: last(time.Hour, "me", "last.tar")}, false, 23 * time.Hour},
		"own, missed":                {kv.BackupRecord{Last: last(48*time.Hour, "me", "last.tar")}, false, 0},
		"own, gone":                  {kv.BackupRecord{Last: last(time.Hour, "me", "gone.tar")}, false, 0},
		"another's":                  {kv.BackupRecord{Last: last(time.Hour, "you", "elsewhere.tar")}, false, 23*time.Hour + backupGrace},
		"another's, just missed":     {kv.BackupRecord{Last: last(day+time.Minute, "you", "elsewhere.tar")}, false, backupGrace - time.Minute},
		"an older name of its own":   {kv.BackupRecord{Last: last(time.Hour, "you", "last.tar")}, true, 23 * time.Hour},
		"from the future":            {kv.BackupRecord{Last: last(-48*time.Hour, "me", "last.tar")}, false, 0},
		"failed once":                {kv.BackupRecord{Failed: failed(0, "me", 1)}, false, time.Minute},
		"failed often":               {kv.BackupRecord{Failed: failed(0, "me", 4)}, false, 8 * time.Minute},
		"failed for a year":          {kv.BackupRecord{Failed: failed(0, "me", 10000)}, false, time.Hour},
		"another failed":             {kv.BackupRecord{Failed: failed(0, "you", 4)}, false, 0},
		"failed, and not due anyway": {kv.BackupRecord{Last: last(time.Hour, "me", "last.tar"), Failed: failed(0, "me", 1)}, false, 23 * time.Hour},
		"failed a while ago":         {kv.BackupRecord{Failed: failed(time.Hour, "me", 1)}, false, 0},
		"a failure from the future":  {kv.BackupRecord{Failed: failed(-48*time.Hour, "me", 1)}, false, 0},
		"failed after a missed one":  {kv.BackupRecord{Last: last(48*time.Hour, "me", "last.tar"), Failed: failed(0, "me", 2)}, false, 2 * time.Minute},
	} {
		s := &scheduler{maker: "me", alone: test.alone}
		wait := max(0, s.due(test.record, c).Sub(now))
		if diff := (wait - test.wait).Abs(); diff > time.Second {
			t.Errorf("%s: due in %s, want %s", name, wait, test.wait)
		}
	}
}

// TestBackupAfterKill kills a server, and finds its next start with a directory that has the remains of a backup.
func TestBackupAfterKill(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), new(logBuffer)
	logOnFailure(t, log)
	backups := filepath.Join(dir, "backups")
	p := startProcess(t, filepath.Join(dir, "data"), log)
	w := newWorld(t, p)
	w.newMember(t, 0)
	w.close(t)
	p.kill(t)
	// The claim of a killed server does not keep it from making the next backup.
	p = startProcess(t, filepath.Join(dir, "data"), log, "IMCTL_BACKUP_DIR="+backups)
	awaitBackup(t, backups)
	p.kill(t)
	first := entriesOf(t, backups)
	writeIn(t, backups, "."+first[0]+"-123", "half a backup")
	if err := os.Remove(filepath.Join(backups, first[0])); err != nil {
		t.Fatal(err)
	}
	p = startProcess(t, filepath.Join(dir, "data"), log, "IMCTL_BACKUP_DIR="+backups)
	file := awaitBackup(t, backups)
	if got := entriesOf(t, backups); len(got) != 1 {
		t.Errorf("the directory has %v", got)
	}
	command(t, dir, "", "restore", "--verify", file).want(t, exitDone, "accounts  1\n")
	p.stop(t)
}
