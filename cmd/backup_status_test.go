package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imctl/bridge/cluster"
	"imctl/kv"
)

// TestBackupProblem checks what is wrong with the scheduled backups of two nodes.
func TestBackupProblem(t *testing.T) {
	t.Parallel()
	now := time.Now()
	node := func(up, every time.Duration) cluster.NodeStatus {
		return cluster.NodeStatus{Node: kv.Node{Started: now.Add(-up)}, Load: &cluster.Load{BackupEvery: every.Seconds()}}
	}
	last := func(age time.Duration) *kv.Backup { return &kv.Backup{Time: now.Add(-age)} }
	failed := &kv.BackupFailure{Count: 2, Error: "disk full"}
	plain := cluster.NodeStatus{Node: kv.Node{Started: now.Add(-30 * day)}}
	for name, c := range map[string]struct {
		record kv.BackupRecord
		nodes  []cluster.NodeStatus
		want   string
	}{
		"fresh":                   {kv.BackupRecord{Last: last(47 * time.Hour)}, []cluster.NodeStatus{node(9*day, day)}, ""},
		"old":                     {kv.BackupRecord{Last: last(49 * time.Hour)}, []cluster.NodeStatus{node(9*day, day)}, "backup: the last one is 2 d 1 h old, with backup.every: 24h"},
		"old, and in progress":    {kv.BackupRecord{Last: last(49 * time.Hour), Holder: "x", Until: now.Add(time.Minute)}, []cluster.NodeStatus{node(9*day, day)}, ""},
		"old, and the maker died": {kv.BackupRecord{Last: last(49 * time.Hour), Holder: "x", Until: now.Add(-time.Minute)}, []cluster.NodeStatus{node(9*day, day)}, "the last one is"},
		"failed":                  {kv.BackupRecord{Last: last(time.Hour), Failed: failed}, []cluster.NodeStatus{node(day, day)}, "backup: the last one failed, 2 times: disk full"},
		"none yet":                {kv.BackupRecord{}, []cluster.NodeStatus{node(time.Hour, day), plain}, ""},
		"never":                   {kv.BackupRecord{}, []cluster.NodeStatus{node(time.Hour, day), node(3*day, day)}, "backup: no server has made one, with backup.every: 24h"},
		"the rarer schedule":      {kv.BackupRecord{Last: last(3 * day)}, []cluster.NodeStatus{node(9*day, day), node(9*day, 2*day)}, ""},
		"not scheduled any more":  {kv.BackupRecord{Last: last(9 * day), Failed: failed}, []cluster.NodeStatus{node(9*day, 0), plain}, ""},
	} {
		got := backupProblem(&backupInfo{c.record}, c.nodes, now)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if got := backupProblem(nil, []cluster.NodeStatus{node(3*day, day)}, now); got == "" {
		t.Error("no record, and no problem")
	}
}

// TestStatusOfFailedBackup: imctl status exits with 1 while the scheduled backups fail, and with 0 without a schedule.
func TestStatusOfFailedBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *Config) { c.Data, c.Backup.Dir = filepath.Join(dir, "data"), filepath.Join(file, "backups") })
	s.mayLog = []string{"the backup failed"}
	var a commandAnswer
	eventually(t, "the failure in the status", func() bool { a = command(t, dir, "", "status"); return a.code != exitDone })
	if a.code != exitFailed || !strings.Contains(a.err, "imctl: backup: the last one failed, 1 time: ") || !strings.Contains(a.out, "health    backup: the last one failed") {
		t.Errorf("exit code %d: %s%s", a.code, a.out, a.err)
	}
	reloadBackups(t, s, BackupConfig{Every: day, Keep: 7})
	command(t, dir, "", "status").want(t, exitDone, "failed at ")
	reloadBackups(t, s, BackupConfig{Dir: filepath.Join(dir, "backups"), Every: day, Keep: 7})
	eventually(t, "a backup", func() bool { return command(t, dir, "", "status").code == exitDone && s.app.backups.last.Load() != nil })
}
