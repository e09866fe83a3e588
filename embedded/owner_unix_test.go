//go:build unix

package embedded

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
