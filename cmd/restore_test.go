package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"imctl/bridge/subject"
	"imctl/kv"
)

// createBackup returns a directory with all.tar, a backup of so many accounts.
func createBackup(t *testing.T, accounts int) (dir string) {
	t.Helper()
	dir = importDir(t)
	args := append([]string{"bench", "populate", "--accounts", fmt.Sprint(accounts), "--friends", "6", "--popular", "0"}, cheap...)
	command(t, dir, "password-of-all\n", args...).want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	return dir
}

// exportedLines returns the sorted lines of user export.
func exportedLines(t *testing.T, dir string, args ...string) []string {
	t.Helper()
	a := command(t, dir, "", append([]string{"user", "export"}, args...)...)
	if a.code != exitDone { // standard error may have warnings of NATS about a killed server
		t.Errorf("exit code %d: %s", a.code, a.err)
	}
	return sortedLines(a.out)
}

// wantUsers compares two results of exportedLines.
func wantUsers(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %d users, want the %d users of the backup, or their data differs", len(got), len(want))
	}
}

// startNATSWithSync starts a NATS server that syncs every write to disk, and returns its URL.
func startNATSWithSync(t *testing.T) string {
	t.Helper()
	return runNATS(t, &natsserver.Options{ServerName: "n", Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true,
		StoreDir: t.TempDir(), SyncAlways: true}).ClientURL()
}

// TestRestoreManyUsers restores thousands of users into a running server that syncs every write to disk.
func TestRestoreManyUsers(t *testing.T) {
	t.Parallel()
	const accounts = 1500 // several batches
	dir := createBackup(t, accounts)
	want := exportedLines(t, dir)
	address := startNATSWithSync(t)
	for name, change := range map[string]func(*Config){
		"embedded": func(c *Config) {
			c.Data, c.NATS.Listen, c.NATS.Sync = filepath.Join(dir, "running"), "127.0.0.1:0", SyncAlways
		},
		"attached": func(c *Config) { c.NATS.URL = address },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, change)
			at := []string{"--data", "running"}
			if name == "attached" {
				at = []string{"--nats", address}
			}
			w := newWorld(t, s)
			late := w.newMember(t, 0)
			late.login(t)
			command(t, dir, "", append(at, "restore", "all.tar", "--yes")...).want(t, exitDone, "KV_im_users")
			command(t, dir, "", append(at, "status")...).want(t, exitDone, "health    ok\n", fmt.Sprintf("accounts  %d\n", accounts))
			wantUsers(t, exportedLines(t, dir, at...), want)
			late.tunnel.wantClose(t, websocket.CloseServiceRestart)
			w.dial(t, 0, "/im/login?"+query("account", late.account, "password", late.password)).want(t, replyBody(505))
			if err := s.app.ready(); err != nil {
				t.Error(err)
			}
			// A second restore uses the first set of buckets again.
			command(t, dir, "", append(at, "backup", name+".tar")...).want(t, exitDone, "KV_im_users_b")
			command(t, dir, "", append(at, "restore", name+".tar", "--yes")...).want(t, exitDone)
			wantUsers(t, exportedLines(t, dir, at...), want)
			command(t, dir, "", "restore", name+".tar", "--data", name).want(t, exitDone)
			wantUsers(t, exportedLines(t, dir, "--data", name), want)
		})
	}
}

// TestRestoreServers restores into two servers on one NATS server. Both end their sessions and use the new buckets.
func TestRestoreServers(t *testing.T) {
	t.Parallel()
	address := startNATSWithSync(t)
	attached := func(c *Config) { c.NATS.URL = address }
	one, two := start(t, attached), start(t, attached)
	dir := importDir(t)
	w := newWorld(t, servers{one, two})
	alice, bob := w.newFriends(t)
	at := []string{"--nats", address}
	command(t, dir, "", append(at, "backup", "all.tar")...).want(t, exitDone)
	command(t, dir, "", append(at, "friend", "remove", alice.account, bob.account)...).want(t, exitDone)
	for range 2 { // into the other set of buckets, and back
		command(t, dir, "", append(at, "restore", "all.tar", "--yes")...).want(t, exitDone)
		for _, p := range []*member{alice, bob} {
			p.tunnel.wantClose(t, websocket.CloseServiceRestart)
		}
		alice.login(t)
		bob.login(t)
		if code := alice.talk(t, bob, "1"); code != 200 {
			t.Errorf("dialogue to a restored friend on the other server: got code %d, want 200", code)
		}
		bob.tunnel.next(t)
		command(t, dir, "", append(at, "status")...).want(t, exitDone, "health    ok\n", "sessions  2\n")
	}
}

// servers is a deployment of two servers. Users with odd numbers connect to the second one.
type servers struct {
	*server
	second *server
}

func (s servers) base(n int) string {
	if n%2 == 1 {
		return s.second.base(n)
	}
	return s.server.base(n)
}

// TestRestoreWithoutNotification checks that a server detects a restore of which it was not notified.
func TestRestoreWithoutNotification(t *testing.T) {
	t.Parallel()
	address := startNATSWithSync(t)
	s := start(t, func(c *Config) { c.NATS.URL = address })
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "--nats", address, "user", "import").want(t, exitDone)
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	staging, err := kv.Stage(t.Context(), nc, nc, kv.Options{Prefix: "im"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := staging.Fill(t.Context(), func(int) {}); err != nil {
		t.Fatal(err)
	}
	command(t, dir, `{"account":"late"}`, "--nats", address, "user", "import").want(t, exitDone)
	if err := staging.Commit(t.Context(), time.Now(), kv.StagedStreams{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is not ready", func() bool { return s.app.ready() != nil })
	states := s.app.backend.store.States
	state, err := states.Get(t.Context())
	if err == nil {
		err = states.RemoveReplaced(t.Context(), *state.Restore)
	}
	if err == nil {
		_, err = states.FinishRestore(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is ready", func() bool { return s.app.ready() == nil })
	command(t, dir, "", "--nats", address, "user", "show", "alice").want(t, exitDone)
	command(t, dir, "", "--nats", address, "user", "show", "late").want(t, exitNotFound)
}

// TestBackupPipe pipes a backup from one process to a restore in another.
func TestBackupPipe(t *testing.T) {
	t.Parallel()
	dir := createBackup(t, 30)
	backup, restore := exec.Command("imctl", "backup", "-"), exec.Command("imctl", "restore", "-", "--data", "new")
	var errs logBuffer
	var out bytes.Buffer
	temp := t.TempDir()
	for _, c := range []*exec.Cmd{backup, restore} {
		c.Dir, c.Stderr, c.Env = dir, &errs, append(os.Environ(), "TMPDIR="+temp, "TMP="+temp, "GORACE=atexit_sleep_ms=0")
	}
	var err error
	if restore.Stdin, err = backup.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	restore.Stdout = &out
	if err := errors.Join(backup.Start(), restore.Start()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(restore.Wait(), backup.Wait()); err != nil || errs.String() != "" || !strings.Contains(out.String(), "KV_im_users") {
		t.Fatalf("%v\n%s%s", err, errs.String(), out.String())
	}
	wantUsers(t, exportedLines(t, dir, "--data", "new"), exportedLines(t, dir))
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("temporary files remain: %v, %v", left, err)
	}
	a := command(t, dir, "", "backup", "-").want(t, exitDone)
	if _, err := checkBackup(strings.NewReader(a.out), nil); err != nil {
		t.Errorf("standard output is not a valid backup: %v", err)
	}
	command(t, dir, a.out[:len(a.out)/2], "restore", "-", "--data", "half").want(t, exitFailed, errBackup.Error())
}

// TestRestoreOldVersion restores a backup of a version without a state, and without a log before the first consumer.
func TestRestoreOldVersion(t *testing.T) {
	t.Parallel()
	address := startNATSWithSync(t)
	dir := importDir(t)
	s := start(t, func(c *Config) { c.NATS.URL = address })
	command(t, dir, `{"account":"alice"}`, "--nats", address, "user", "import").want(t, exitDone)
	want := exportedLines(t, dir, "--nats", address)
	s.close(t)
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := errors.Join(deleteStream(t.Context(), nc, subject.Prefix("im").StateStream()), deleteStream(t.Context(), nc, logStream("im"))); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "--nats", address, "backup", "old.tar").want(t, exitDone, "KV_im_users")
	command(t, dir, "", "restore", "old.tar", "--yes").want(t, exitDone)
	wantUsers(t, exportedLines(t, dir), want)

	s = start(t, func(c *Config) { c.NATS.URL = address })
	command(t, dir, `{"account":"late"}`, "--nats", address, "user", "import").want(t, exitDone)
	command(t, dir, "", "--nats", address, "restore", "old.tar", "--yes").want(t, exitDone)
	wantUsers(t, exportedLines(t, dir, "--nats", address), want)
	command(t, dir, "", "--nats", address, "status").want(t, exitDone, "health    ok\n")

	// Without one of the buckets there is no backup.
	if err := deleteStream(t.Context(), nc, "KV_im_friendships_b"); err != nil {
		t.Fatal(err)
	}
	s.mayLog = []string{"KV_im_friendships"}
	command(t, dir, "", "--nats", address, "backup", "part.tar").want(t, exitFailed, "im_friendships_b")
	wantUsers(t, exportedLines(t, dir), want)
}
