//go:build unix

package embedded

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that is neither root nor an owner here, by the number that most systems use.
const nobody = 65534

// TestAllowPeer: only root, the owner of the data directory and the server's own user may use the socket.
func TestAllowPeer(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	for uid, want := range map[int]error{0: nil, os.Geteuid(): nil, nobody: errPeer, 12345: errPeer} {
		if err := allowPeer(uid, path); !errors.Is(err, want) {
			t.Errorf("user %d: got %v, want %v", uid, err, want)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := allowPeer(12345, path); err != nil {
		t.Errorf("the owner of the directory: %v", err)
	}
}

// dialEnv is the data directory whose socket the test binary dials instead of running the tests.
const dialEnv = "IMCTL_TEST_DIAL"

// TestAdminSocketRefusesOthers: the server checks who has connected, also if the modes of the directory and of the socket
// let everybody in.
func TestAdminSocketRefusesOthers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a process as another user")
	}
	root, err := os.MkdirTemp("", "imctl-socket-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	path := filepath.Join(root, "data")
	log := new(logBuffer)
	start(t, Options{Dir: openDir(t, path), Admin: true, Log: log.logger(0)})
	for name, mode := range map[string]os.FileMode{root: 0o755, path: 0o755, filepath.Join(path, socketFile): 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[uint32]string{0: "INFO", nobody: "end"} {
		c := exec.Command("/proc/self/exe")
		c.Env, c.Dir = append(os.Environ(), dialEnv+"="+path), "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if out, err := c.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("user %d: got %s, %v; want %s", uid, out, err, want)
		}
	}
	if !strings.Contains(log.String(), errPeer.Error()) {
		t.Errorf("the refusal was not logged: %s", log)
	}
}

// TestOpenDirOwner: a process of root does not open the directory of another user, and opens it as that user.
func TestOpenDirOwner(t *testing.T) {
	if os.Geteuid() != 0 { // not parallel, since AsOwner changes the whole process
		t.Skip("only root can become another user")
	}
	root, err := os.MkdirTemp("", "imctl-owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chown(root, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "data")
	back, err := AsOwner(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(path)
	err = errors.Join(err, back())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 || os.Getegid() != 0 {
		t.Errorf("the process is still user %d, group %d", os.Geteuid(), os.Getegid())
	}
	for _, name := range []string{path, d.Path(lockFile)} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if owner, _ := ownerOf(info); owner != (Identity{nobody, nobody}) {
			t.Errorf("%s belongs to %d:%d", name, owner.UID, owner.GID)
		}
	}
	if _, err := OpenDir(path); !errors.Is(err, ErrDirOwner) {
		t.Errorf("as root: got %v, want %v", err, ErrDirOwner)
	}
	// A server of root in a volume of another user keeps its files.
	if err := os.WriteFile(d.Path(modeFile), []byte(modeStandalone+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	openDir(t, path)
}

// TestDirOwnerOfHostileFiles: the owner of a data directory can't make root believe that the directory is root's.
func TestDirOwnerOfHostileFiles(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has files that others can't make")
	}
	dir := t.TempDir()
	roots := filepath.Join(dir, "roots")
	if err := os.WriteFile(roots, []byte(modeStandalone+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(mode string) error{
		"link":             func(mode string) error { return os.Symlink(roots, mode) },
		"second name":      func(mode string) error { return os.Link(roots, mode) },
		"pipe":             func(mode string) error { return syscall.Mkfifo(mode, 0o600) },
		"directory":        func(mode string) error { return os.Mkdir(mode, 0o700) },
		"another file":     func(mode string) error { return os.WriteFile(mode, []byte("backup"), 0o600) },
		"dangling link":    func(mode string) error { return os.Symlink("/missing", mode) },
		"link to a device": func(mode string) error { return os.Symlink("/dev/null", mode) },
	} {
		path := filepath.Join(dir, name)
		for _, err := range []error{os.Mkdir(path, 0o700), os.Chown(path, nobody, nobody), make(filepath.Join(path, modeFile))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if owner, ok := DirOwner(path); !ok || owner.UID != nobody {
			t.Errorf("%s: got %d, %t; want %d", name, owner.UID, ok, nobody)
		}
		if _, err := OpenDir(path); !errors.Is(err, ErrDirOwner) {
			t.Errorf("%s: OpenDir: got %v, want %v", name, err, ErrDirOwner)
		}
	}
}

// TestAsOwnerNested: the process acts as the owner of the inner directory, then of the outer one, then as root again.
func TestAsOwnerNested(t *testing.T) {
	if os.Geteuid() != 0 { // not parallel, since AsOwner changes the whole process
		t.Skip("only root can become another user")
	}
	root := t.TempDir()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	want := []int{0, 12345, nobody, 0}
	dir := func(i int) string { return filepath.Join(root, strconv.Itoa(i)) }
	for i, uid := range want {
		for _, err := range []error{os.Mkdir(dir(i), 0o700), os.Chown(dir(i), uid, uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	var backs []func() error
	for i, uid := range want[1:] {
		path := dir(i + 1)
		back, err := AsOwner(path)
		if err != nil {
			t.Fatal(err)
		}
		backs = append(backs, back)
		if os.Geteuid() != uid || os.Getegid() != uid {
			t.Errorf("in %s: user %d, group %d; want %d", path, os.Geteuid(), os.Getegid(), uid)
		}
	}
	for i := len(backs) - 1; i >= 0; i-- {
		if err := backs[i](); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() != want[i] || os.Getegid() != want[i] {
			t.Errorf("back: user %d, group %d; want %d", os.Geteuid(), os.Getegid(), want[i])
		}
	}
	if now, err := os.Getgroups(); err != nil || !slices.Equal(now, groups) {
		t.Errorf("groups: got %v, %v; want %v", now, err, groups)
	}
}
