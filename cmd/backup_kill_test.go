package cmd

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestKilledBackup kills a server in the middle of a scheduled backup. No file that looks whole is left, and the next
// start makes the backup.
func TestKilledBackup(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), new(logBuffer)
	logOnFailure(t, log)
	data, backups := filepath.Join(dir, "data"), filepath.Join(dir, "backups")
	p := startProcess(t, data, log)
	w := newWorld(t, p)
	two := w.newMembers(t, 2)
	two[0].befriend(t, two[1])
	content := make([]byte, 12<<20) // for more than a second at the rate of scheduled backups
	rand.Read(content)
	if f, status := two[0].sendsFile(t, two[1], "random", bytes.NewReader(content)); status != 200 {
		t.Fatalf("the file is answered %d: %+v", status, f)
	}
	w.close(t)
	p.kill(t)

	p = startProcess(t, data, log, "IMCTL_BACKUP_DIR="+backups)
	var partial string
	eventually(t, "a part of the backup", func() bool {
		partial = ""
		for _, name := range entriesOf(t, backups) {
			if strings.HasPrefix(name, ".imctl-im-2") {
				partial = name
			}
		}
		info, err := os.Stat(filepath.Join(backups, partial))
		return partial != "" && err == nil && info.Size() > 1<<20
	})
	p.kill(t)
	d := backupDir{path: backups, prefix: "im"}
	early, err := d.newest()
	if err != nil {
		t.Fatal(err)
	}
	if early.name == "" {
		command(t, dir, "", "restore", "--verify", filepath.Join(backups, partial)).want(t, exitFailed)
	} else { // the server was faster than this process
		t.Logf("%s was complete", early.name)
		command(t, dir, "", "restore", "--verify", d.file(early.name)).want(t, exitDone)
		if err := os.Remove(d.file(early.name)); err != nil {
			t.Fatal(err)
		}
	}

	p = startProcess(t, data, log, "IMCTL_BACKUP_DIR="+backups)
	file := awaitBackup(t, backups)
	command(t, dir, "", "restore", "--verify", file).want(t, exitDone, "accounts  2\n", "IM_FILES")
	p.stop(t)
	if got := entriesOf(t, backups); len(got) != 1 {
		t.Errorf("the directory has %v", got)
	}
}

// TestProcessesRaceToBackUp starts two processes on one NATS server at once, which have a directory each. One of them
// makes the backup.
func TestProcessesRaceToBackUp(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGHUP")
	}
	url, dir := startExternalNATS(t).url, t.TempDir()
	var all []*process
	var dirs []string
	for _, name := range []string{"a", "b"} {
		log := new(logBuffer)
		logOnFailure(t, log)
		dirs = append(dirs, filepath.Join(dir, "backups-"+name))
		all = append(all, launch(t, exec.Command("imctl", "serve"), filepath.Join(dir, name), log, "IMCTL_NATS_URL="+url, "IMCTL_BACKUP_DIR="+dirs[len(dirs)-1]))
	}
	for _, p := range all {
		p.awaitReady(t)
	}
	for _, p := range all {
		eventually(t, "the metric of a backup", func() bool {
			if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil { // the server looks at once whether a backup is due
				t.Fatal(err)
			}
			at, err := p.metric("imctl_backup_last_success_timestamp_seconds")
			return err == nil && at > 0
		})
	}
	var made []string
	for _, d := range dirs {
		found, err := (&backupDir{path: d, prefix: "im"}).list()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range found {
			made = append(made, filepath.Join(d, b.name))
		}
	}
	if len(made) != 1 {
		t.Errorf("backups: %v", made)
	}
	for _, p := range all {
		p.stop(t)
	}
}
