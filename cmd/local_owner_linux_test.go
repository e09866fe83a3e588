package cmd

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imctl/embedded"
)

// serviceUser is the user id of the server in tests: that of the user nobody.
const serviceUser = 65534

// ownedDir is a working directory whose data directory belongs to serviceUser.
type ownedDir struct{ dir, data string }

func newOwnedDir(t *testing.T) ownedDir {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	dir, err := os.MkdirTemp("", "imctl-owned-") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := ownedDir{dir, filepath.Join(dir, "data")}
	config := "listen: 127.0.0.1:0\nops: {listen: \"\"}\nnats: {listen: \"\", sync: 1m}\npasswords: {memory: 1MiB, passes: 1}\n"
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o644),
		os.Mkdir(d.data, 0o700), os.Chown(d.data, serviceUser, serviceUser)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// as returns a command of a user in the working directory.
func (d ownedDir) as(t *testing.T, uid uint32, stdin string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	c.Args[0], c.Dir, c.Stdin = "imctl", d.dir, strings.NewReader(stdin)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return c
}

// run runs a command of a user and checks its exit code. It returns what the command has written to standard error.
func (d ownedDir) run(t *testing.T, uid uint32, stdin string, code int, args ...string) string {
	t.Helper()
	c := d.as(t, uid, stdin, args...)
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Run(); c.ProcessState == nil || c.ProcessState.ExitCode() != code {
		t.Errorf("%s of user %d: %v, want exit code %d: %s", strings.Join(args, " "), uid, err, code, &errs)
	}
	return errs.String()
}

// wantOwner checks that all files of the data directory belong to serviceUser.
func (d ownedDir) wantOwner(t *testing.T, after string) {
	t.Helper()
	err := filepath.WalkDir(d.data, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != serviceUser || st.Gid != serviceUser {
			t.Errorf("after %s: %s belongs to %d:%d", after, path, st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOwnerIsKept runs commands as root on the data directory of a service's user, without a running server. All files
// still belong to that user, whose server then starts. Root administers it, and other users get a line that says which
// user to be.
func TestOwnerIsKept(t *testing.T) {
	t.Parallel()
	d := newOwnedDir(t)
	for _, c := range []struct {
		args  string
		stdin string
		code  int
	}{
		{"user import", `{"account":"ada"}`, exitDone},
		{"user list", "", exitDone},
		{"user create bob", "password", exitDone},
		{"status", "", exitNoServer},
		{"backup all.tar", "", exitDone},
		{"check --data", "", exitDone},
		{"user export --file people.jsonl", "", exitDone},
		{"attach add tool --role bridge --context tool.json", "", exitDone},
		{"restore all.tar --yes", "", exitDone},
		{"restore --complete", "", exitDone},
		{"restore people.jsonl --yes", "", exitFailed},
		{"serve", "", exitFailed},
		{"user show nobody", "", exitNotFound},
	} {
		d.run(t, 0, c.stdin, c.code, strings.Fields(c.args)...)
		d.wantOwner(t, c.args)
	}
	// What root has asked for is root's.
	if info, err := os.Stat(filepath.Join(d.dir, "all.tar")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the backup is not root's: %v", err)
	}
	if line := d.run(t, 0, "", exitFailed, "serve"); !strings.Contains(line, "run the command as that user: sudo -u") || strings.Count(line, "\n") != 1 {
		t.Errorf("serve as root: %s", line)
	}

	log := new(logBuffer)
	server := d.as(t, serviceUser, "", "serve")
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service's user starts the server", func() bool { return strings.Contains(log.String(), "imctl is ready") })
	d.run(t, 0, "", exitDone, "status")
	d.run(t, serviceUser, "", exitDone, "user", "show", "bob")
	for _, args := range []string{"user list", "backup other.tar", "check --data", "restore --complete", "serve"} {
		c := d.as(t, 12345, "", strings.Fields(args)...)
		var errs bytes.Buffer
		c.Stderr = &errs
		_ = c.Run()
		if got := errs.String(); strings.Count(got, "\n") != 1 || args != "backup other.tar" && !strings.Contains(got, "; run the command as that user: sudo -u ") {
			t.Errorf("%s of another user: %s", args, got)
		}
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the server: %v: %s", err, log)
	}
	d.wantOwner(t, "serve")
}

// TestOwnerOfNewDirectory: a directory that root's command makes belongs to the owner of the directory above. The files
// of an earlier version, which are root's, get a line that mends them.
func TestOwnerOfNewDirectory(t *testing.T) {
	t.Parallel()
	d := newOwnedDir(t)
	d.data = filepath.Join(d.data, "below")
	d.run(t, 0, `{"account":"ada"}`, exitDone, "user", "import", "--data", d.data)
	d.wantOwner(t, "user import")
	if err := os.Chown(filepath.Join(d.data, "admin.json"), 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []uint32{0, serviceUser} {
		line := d.run(t, uid, "", exitFailed, "user", "list", "--data", d.data)
		if !strings.Contains(line, "chown -R ") || !strings.Contains(line, d.data) || strings.Count(line, "\n") != 1 {
			t.Errorf("user %d with a file of root: %s", uid, line)
		}
	}
	if line := d.run(t, serviceUser, "", exitFailed, "serve", "--data", d.data); !strings.Contains(line, "chown -R ") {
		t.Errorf("serve with a file of root: %s", line)
	}
}

// TestDataServerEnds: the process that has opened the directory ends with the command that has started it.
func TestDataServerEnds(t *testing.T) {
	t.Parallel()
	d := newOwnedDir(t)
	d.run(t, 0, "", exitDone, "user", "import")
	c := d.as(t, 0, "", "user", "import", "/dev/stdin")
	in, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	// A long import is killed while the other process has locked the directory.
	for i := range 20_000 {
		fmt.Fprintf(in, "{\"account\":\"user%d\"}\n", i)
	}
	if _, err := in.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	c.Stdin = in
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the directory is locked", func() bool {
		_, err := os.Stat(filepath.Join(d.data, "admin.sock"))
		return err == nil
	})
	wantNoTerminal(t, d.data)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed
	eventually(t, "the directory is unlocked", func() bool {
		_, err := os.Stat(filepath.Join(d.data, "admin.sock"))
		return err != nil
	})
	d.run(t, 0, "", exitDone, "user", "list", "--limit", "1")
	d.wantOwner(t, "a killed command")
}

// wantNoTerminal checks that the process that has locked a data directory has a session of its own, and that its standard
// error is a pipe. Its user could write to the terminal of root, as if root typed.
func wantNoTerminal(t *testing.T, data string) {
	t.Helper()
	pid := embedded.Owner(data)
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("process %d has the session %d: %v", pid, session, err)
	}
	if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", pid)); err != nil || !strings.HasPrefix(target, "pipe:") {
		t.Errorf("standard error of process %d is %s: %v", pid, target, err)
	}
}

// TestPrintableErrors: neither an error nor a line of another process reaches the terminal with control characters.
func TestPrintableErrors(t *testing.T) {
	t.Parallel()
	if got := oneLine(errors.New("a \x1b[31mred\n line\u009b1m")); got != "a \ufffd[31mred line\ufffd1m" {
		t.Errorf("got %q", got)
	}
	var out bytes.Buffer
	if n, err := (printableWriter{&out}).Write([]byte("one\x1b[2J\ntwo\x07\n")); n != 13 || err != nil || out.String() != "one\ufffd[2J\ntwo\ufffd\n" {
		t.Errorf("got %d, %v, %q", n, err, out.String())
	}
}

// TestDataServerConfig: the configuration arrives as it was sent, secrets included.
func TestDataServerConfig(t *testing.T) {
	t.Parallel()
	sent := Defaults()
	sent.NATS.Cluster.Secret, sent.Mail.SMTP = "secret", "smtp://user:secret@example.org"
	sent.Dialogues.Keep, sent.Files.MaxSize, sent.NATS.Sync = time.Hour, 3*MiB, Sync(time.Minute)
	var pipe bytes.Buffer
	got := new(Config)
	if err := gob.NewEncoder(&pipe).Encode(sent); err != nil {
		t.Fatal(err)
	}
	if err := gob.NewDecoder(&pipe).Decode(got); err != nil {
		t.Fatal(err)
	}
	for i, s := range sent.settings() {
		// An empty list arrives as nil.
		if value := got.settings()[i].get(); !reflect.DeepEqual(value, s.get()) && fmt.Sprint(value) != fmt.Sprint(s.get()) {
			t.Errorf("%s: got %v, want %v", s.key, value, s.get())
		}
	}
	if got.NATS.Cluster.Secret != sent.NATS.Cluster.Secret {
		t.Error("the secret was not sent")
	}
}
