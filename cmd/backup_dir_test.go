package cmd

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// entriesOf returns the names in a directory, except the lock of backups, sorted.
func entriesOf(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "-lock") {
			all = append(all, e.Name())
		}
	}
	return all
}

// TestBackupEvery makes backups in a directory with older ones and with files of others.
func TestBackupEvery(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	own := string(readIn(t, dir, "all.tar"))
	backups := filepath.Join(dir, "backups")
	command(t, dir, "", "backup", "--every", "24h", "--keep", "3", "backups").want(t, exitDone, "KV_im_users")
	first := entriesOf(t, backups)
	if len(first) != 1 || !strings.HasPrefix(first[0], "imctl-im-20") || !strings.HasSuffix(first[0], "Z.tar") {
		t.Fatalf("the directory has %v", first)
	}
	if info, err := os.Stat(filepath.Join(backups, first[0])); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("backup: %v, %v", info, err)
	}
	command(t, dir, "", "backup", "--every", "24h", "backups").want(t, exitDone, "no backup is due", first[0])

	kept := []string{"imctl-im-20010101T000000Z.tar", "imctl-im-yesterday.tar", "imctl-other-20010101T000000Z.tar", "notes.txt", "imctl-im-20010102T000000Z.tar.age",
		".imctl-im-20010101T000000Z.tar.bak", ".imctl-other-20010101T000000Z.tar-1"}
	for _, name := range kept {
		writeIn(t, backups, name, "text of another program")
	}
	if err := os.Mkdir(filepath.Join(backups, "imctl-im-20010103T000000Z.tar"), 0o700); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, "imctl-im-20010103T000000Z.tar")
	writeIn(t, backups, ".imctl-im-20260101T000000Z.tar-123", own[:512]) // of a killed process
	writeIn(t, backups, "imctl-im-20250101T000000Z.tar", own)
	writeIn(t, backups, "imctl-im-20250102T000000Z.tar", own)
	writeIn(t, backups, "imctl-im-20240101T000000Z.tar.age", ageIntro+"v1\n")
	a := command(t, dir, "", "backup", "--every", "0s", "--keep", "3", "backups", "-o", "json").want(t, exitDone, `"accounts":1`)
	var second string
	for _, name := range entriesOf(t, backups) {
		if strings.Contains(a.out, name) {
			second = name
		}
	}
	want := append(slices.Clone(kept), first[0], second, "imctl-im-20250102T000000Z.tar")
	slices.Sort(want)
	if got := entriesOf(t, backups); !slices.Equal(got, want) {
		t.Errorf("the directory has\n%v, want\n%v", got, want)
	}
	command(t, dir, "", "restore", "--verify", filepath.Join("backups", second)).want(t, exitDone, "accounts  1\n")

	for _, args := range [][]string{{"--keep", "3", "backups"}, {"--every", "1h", "--keep", "0", "backups"}, {"--every", "1h", "-"}, {"--every", "soon", "backups"},
		{"--every", "1h", "--force", "backups"}} {
		command(t, dir, "", append([]string{"backup"}, args...)...).want(t, exitUse)
	}
	command(t, dir, "", "backup", "--every", "1h", "missing/backups").want(t, exitFailed, "missing")
}

// TestBackupEveryRecipients encrypts to the recipients of the configuration.
func TestBackupEveryRecipients(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	own, other := newAgeKey(t, dir, "own.txt"), newAgeKey(t, dir, "other.txt")
	config := string(readIn(t, dir, "config.yaml")) + "backup: {recipients: [" + own + "]}\n"
	writeIn(t, dir, "config.yaml", config)
	command(t, dir, "", "backup", "--every", "1h", "one").want(t, exitDone)
	command(t, dir, "", "backup", "--every", "1h", "--recipient", other, "two").want(t, exitDone)
	for folder, key := range map[string]string{"one": "own.txt", "two": "other.txt"} {
		got := entriesOf(t, filepath.Join(dir, folder))
		if len(got) != 1 || !strings.HasSuffix(got[0], ".tar.age") {
			t.Fatalf("%s has %v", folder, got)
		}
		command(t, dir, "", "restore", "--verify", filepath.Join(folder, got[0]), "--identity", key).want(t, exitDone)
	}
}

// TestBackupKilled kills a backup at each of its steps. The directory then has no file that looks like a backup, unless
// it is one, and the next backup removes the remains.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	backups := filepath.Join(dir, "backups")
	for _, step := range []string{"KV_im_users", "IM_TALKS", "written", "verified"} {
		killCommand(t, dir, step, "backup", "--every", "0s", "backups")
		got := entriesOf(t, backups)
		if len(got) != 1 || !strings.HasPrefix(got[0], ".") {
			t.Errorf("killed at %s: the directory has %v, want the remains", step, got)
		}
		if found, err := (&backupDir{path: backups, prefix: "im"}).newest(); err != nil || found.name != "" {
			t.Errorf("killed at %s: found %v, %v", step, found, err)
		}
	}
	killCommand(t, dir, "named", "backup", "--every", "0s", "backups")
	got := entriesOf(t, backups)
	if len(got) != 1 || strings.HasPrefix(got[0], ".") {
		t.Fatalf("the directory has %v, want one backup", got)
	}
	command(t, dir, "", "restore", "--verify", filepath.Join("backups", got[0])).want(t, exitDone, "accounts  1\n")
}

// TestEmptyBackup warns of a backup without accounts.
func TestEmptyBackup(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	const warning = "has no accounts, so the backup is empty"
	for _, args := range [][]string{{"all.tar"}, {"-"}, {"--every", "1h", "backups"}} {
		a := command(t, dir, "", append([]string{"backup"}, args...)...)
		if a.code != exitDone || strings.Count(a.err, "\n") != 1 || !strings.Contains(a.err, warning) {
			t.Errorf("backup %v: got %d, %s", args, a.code, a.err)
		}
		if args[0] == "-" && !strings.HasPrefix(a.out, manifestEntry) {
			t.Error("standard output has no backup")
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "-")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file named - : %v", err)
	}
	command(t, dir, "", "restore", "--verify", "all.tar").want(t, exitDone, "accounts  0\n")
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "backup", "full.tar").want(t, exitDone)
}

// TestBackupTime checks the times in names.
func TestBackupTime(t *testing.T) {
	t.Parallel()
	d := backupDir{prefix: "im"}
	for name, want := range map[string]bool{"imctl-im-20260102T030405Z.tar": true, "imctl-im-20260102T030405Z.tar.age": true, "imctl-im-20260102T030405Z": false,
		"imctl-im-20260102T030405Z.age": false, "imctl-20260102T030405Z.tar": false, "imctl-im-b-20260102T030405Z.tar": false, "imctl-im-2026-01-02.tar": false} {
		if at, ok := d.timeOf(name); ok != want || ok && !at.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
			t.Errorf("%s: got %v, %v", name, at, ok)
		}
	}
}

// TestBackupAfterWrongClock: a new backup stays although others have a later time, and it replaces them one by one.
func TestBackupAfterWrongClock(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	backups := filepath.Join(dir, "backups")
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	own := string(readIn(t, dir, "all.tar"))
	if err := os.Mkdir(backups, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"imctl-im-20010101T000000Z.tar", "imctl-im-91010101T000000Z.tar", "imctl-im-92010101T000000Z.tar"} {
		writeIn(t, backups, name, own)
	}
	var made []string
	for _, rest := range [][]string{{"imctl-im-20010101T000000Z.tar", "imctl-im-92010101T000000Z.tar"}, {"imctl-im-20010101T000000Z.tar"}, nil} {
		var r backupReport
		a := command(t, dir, "", "backup", "--every", "0s", "--keep", "3", "backups", "-o", "json").want(t, exitDone)
		if err := json.Unmarshal([]byte(a.out), &r); err != nil {
			t.Fatal(err)
		}
		made = append(made, filepath.Base(r.File))
		want := append(slices.Clone(made), rest...)
		slices.Sort(want)
		if got := entriesOf(t, backups); !slices.Equal(got, want) {
			t.Errorf("the directory has\n%v, want\n%v", got, want)
		}
	}
}

// TestBackupDirWithinData: the server does not make backups in its data directory.
func TestBackupDirWithinData(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]int{"data": exitUse, "data/": exitUse, "data/jetstream/backups": exitUse, "other/../data/x": exitUse, "backups": exitDone, "data-backups": exitDone, "data/../b": exitDone} {
		work := t.TempDir()
		writeIn(t, work, "config.yaml", "data: data\nbackup: {dir: "+dir+"}\n")
		if a := command(t, work, "", "check"); a.code != want || want == exitUse && !strings.Contains(a.err+a.out, "config.yaml:2") {
			t.Errorf("%s: got %d, %s%s", dir, a.code, a.out, a.err)
		}
	}
}
