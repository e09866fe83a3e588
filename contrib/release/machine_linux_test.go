package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideVariable names the directory with the packages for the part of a test that runs in its own namespaces.
const insideVariable = "IMCTL_TEST_PACKAGES"

// onMachine runs a test with the packages of two versions, 1.deb and 2.deb, on a copy of this machine's files, in
// namespaces of its own, so that the machine does not change.
func onMachine(t *testing.T, test func(t *testing.T, packages string), programs ...string) {
	if packages := os.Getenv(insideVariable); packages != "" {
		if _, err := user.Lookup("imctl"); err == nil {
			t.Skip("this machine has a user imctl")
		}
		test(t, packages)
		return
	}
	t.Parallel()
	require(t, append(programs, "dpkg", "ip", "chroot", "perl")...)
	if os.Getuid() != 0 {
		t.Skip("only root has namespaces with an overlay of /")
	}
	first := released(t)
	second, err := secondPackage()
	if err != nil {
		t.Fatal(err)
	}
	packages := t.TempDir()
	for name, dir := range map[string]string{"1.deb": first, "2.deb": second} {
		found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		text, err := os.ReadFile(found[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(packages, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	inside := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	inside.Env = append(os.Environ(), insideVariable+"="+packages)
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET}
	out, err := inside.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
}

// machine is a copy of this machine's files.
type machine struct {
	t     *testing.T
	root  string
	files *os.Root // keeps all writes of the test below root
}

// newMachine returns a machine. It shares no directory with this one but the lower layer of its overlay, which is never
// written, and its mounts are gone before the test removes its directories. Its systemctl only writes down how it was
// called, except for what works without systemd.
func newMachine(t *testing.T, packages string) *machine {
	t.Helper()
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	mount := func(kind, target, data string) {
		t.Helper()
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount(kind, target, kind, 0, data); err != nil {
			t.Fatalf("mount %s: %v", target, err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", target, err)
			}
		})
	}
	mount("tmpfs", base, "")
	m := &machine{t: t, root: filepath.Join(base, "root")}
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount("overlay", m.root, "lowerdir=/,upperdir="+base+"/upper,workdir="+base+"/work")
	for _, dir := range []string{"dev", "run", "mnt"} {
		mount("tmpfs", filepath.Join(m.root, dir), "")
	}
	mount("proc", filepath.Join(m.root, "proc"), "")
	var err error
	if m.files, err = os.OpenRoot(m.root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.files.Close() })
	m.makeDevices()
	for _, name := range []string{"1.deb", "2.deb"} {
		text, err := os.ReadFile(filepath.Join(packages, name))
		if err != nil {
			t.Fatal(err)
		}
		m.write("/mnt/"+name, string(text), 0o644)
	}
	if err := m.files.MkdirAll("run/systemd/system", 0o755); err != nil {
		t.Fatal(err)
	}
	m.write("/usr/bin/systemctl.real", m.read("/usr/bin/systemctl"), 0o755)
	m.write("/usr/bin/systemctl", `#!/bin/sh
echo "$@" >>/run/systemctl
case " $* " in
*" --root=/ "*) exec systemctl.real "$@" ;;
*" is-enabled "*) echo enabled ;;
esac
`, 0o755)
	m.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755)
	said(t, "ip", "link", "set", "lo", "up")
	return m
}

// makeDevices makes the few devices that programs need.
func (m *machine) makeDevices() {
	m.t.Helper()
	for name, minor := range map[string]int{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		file := filepath.Join(m.root, "dev", name)
		if err := syscall.Mknod(file, syscall.S_IFCHR|0o666, 1<<8|minor); err != nil {
			m.t.Fatalf("mknod %s: %v", file, err)
		}
		if err := os.Chmod(file, 0o666); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := m.files.Symlink("/proc/self/fd", "dev/fd"); err != nil {
		m.t.Fatal(err)
	}
}

// inside returns the name of a file for m.files.
func (m *machine) inside(name string) string { return strings.TrimPrefix(name, "/") }

func (m *machine) read(name string) string {
	m.t.Helper()
	text, err := m.files.ReadFile(m.inside(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	if err := m.files.MkdirAll(filepath.Dir(m.inside(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := m.files.RemoveAll(m.inside(name)); err != nil { // its owner is root then, as after most editors
		m.t.Fatal(err)
	}
	if err := m.files.WriteFile(m.inside(name), []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

// run runs a command on the machine as root, and returns what it said.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	c := exec.Command("/usr/bin/env", append([]string{"-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
		"LC_ALL=C"}, args...)...)
	c.SysProcAttr, c.Dir = &syscall.SysProcAttr{Chroot: m.root}, "/"
	out, err := c.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// owner returns mode, owner and group of a file.
func (m *machine) owner(name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("stat", "-c", "%a %U:%G", name))
}

func (m *machine) want(what, got, want string) {
	m.t.Helper()
	if got != want {
		m.t.Errorf("%s is %q, want %q", what, got, want)
	}
}

// exists checks whether files exist.
func (m *machine) exists(want bool, names ...string) {
	m.t.Helper()
	for _, name := range names {
		if _, err := m.files.Lstat(m.inside(name)); (err == nil) != want {
			m.t.Errorf("%s exists: %t, want %t", name, err == nil, want)
		}
	}
}

// called checks that systemctl was called with args since the last check.
func (m *machine) called(args ...string) {
	m.t.Helper()
	calls := m.read("/run/systemctl")
	for _, a := range args {
		if !strings.Contains("\n"+calls, "\n"+a+"\n") && !strings.Contains("\n"+calls, " "+a+"\n") {
			m.t.Errorf("systemctl %s was not called: %s", a, calls)
		}
	}
	m.write("/run/systemctl", "", 0o644)
}

// unit returns the value of a setting of the service's unit.
func (m *machine) unit(key string) string {
	m.t.Helper()
	for line := range strings.Lines(m.read("/usr/lib/systemd/system/imctl.service")) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return value
		}
	}
	m.t.Fatalf("the unit does not have %s", key)
	return ""
}

// service is a running service.
type service struct {
	*exec.Cmd
	m     *machine
	log   bytes.Buffer
	ended chan struct{}
}

// start runs the service as systemd would: the command of the unit, its user, its directory, and an empty environment.
func (m *machine) start() *service {
	m.t.Helper()
	id := func(flag string) uint32 {
		n, err := strconv.ParseUint(strings.TrimSpace(m.run("id", flag, m.unit("User"))), 10, 32)
		if err != nil {
			m.t.Fatal(err)
		}
		return uint32(n)
	}
	args := strings.Fields(m.unit("ExecStart"))
	s := &service{Cmd: exec.Command(args[0], args[1:]...), m: m, ended: make(chan struct{})}
	s.Env, s.Dir = []string{"PATH=/usr/bin"}, m.unit("WorkingDirectory")
	s.Stdout, s.Stderr = &s.log, &s.log
	s.SysProcAttr = &syscall.SysProcAttr{Chroot: m.root, Credential: &syscall.Credential{Uid: id("-u"), Gid: id("-g")}, Pdeathsig: syscall.SIGKILL}
	if err := s.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		_ = s.Wait() // ProcessState has the result
		close(s.ended)
	}()
	m.t.Cleanup(func() {
		_ = s.Process.Kill() // fails if it has ended
		<-s.ended
	})
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := m.get(ctx, "http://127.0.0.1:8081/readyz"); err == nil {
			return s
		}
		select {
		case <-s.ended:
			m.t.Fatalf("the service ended: %s", &s.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
	m.t.Fatalf("the service does not get ready: %s", &s.log)
	return nil
}

// stop stops the service as systemd would.
func (s *service) stop() {
	s.m.t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		s.m.t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.m.t.Fatal("the service does not end")
	}
	if !s.ProcessState.Success() {
		s.m.t.Errorf("the service ended with %s: %s", s.ProcessState, &s.log)
	}
}

func (m *machine) get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}
