package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/embedded"
)

// mountSmall mounts a disk with these options of tmpfs.
func mountSmall(t *testing.T, options string) string {
	t.Helper()
	path := t.TempDir()
	err := syscall.Mount("tmpfs", path, "tmpfs", 0, options)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("only root can mount a small disk")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
	return path
}

// fillBytes writes until the disk is full. It returns a function that frees the space.
func fillBytes(t *testing.T, disk string) (empty func()) {
	t.Helper()
	path := filepath.Join(disk, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if err = errors.Join(noMore(err), f.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// fillFiles creates files until the disk has no free inodes. It returns a function that removes them.
func fillFiles(t *testing.T, disk string) (empty func()) {
	t.Helper()
	dir := filepath.Join(disk, "fillers")
	err := os.Mkdir(dir, 0o700)
	for n := 0; err == nil; n++ {
		err = os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600)
	}
	if err := noMore(err); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// noMore returns nil for the error of a full disk.
func noMore(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return fmt.Errorf("filled the disk until: %w", err)
}

// TestFullDisk fills the disk of a running server. Dialogues and logins go on. Durable writes are refused until there
// is free space, and then accepted again without a restart.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		options string
		fill    func(*testing.T, string) func()
	}{
		"bytes":  {"size=64m", fillBytes},
		"inodes": {"size=256m,nr_inodes=2k", fillFiles},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testFullDisk(t, mountSmall(t, d.options), d.fill)
		})
	}
}

func testFullDisk(t *testing.T, disk string, fill func(*testing.T, string) func()) {
	data, log := filepath.Join(disk, "data"), new(logBuffer)
	p := startProcess(t, data, log)
	logOnFailure(t, log)
	w := newWorld(t, p)
	a, b := w.newFriends(t)
	stop, registered := registerOn(t, w)
	empty := fill(t, disk)
	eventually(t, "a registration refused", func() bool { return tryRegistration(t, w, "late") == 500 })
	stop()
	wantReadOnly(t, p, w, data)
	for n := range 50 {
		if code := a.talk(t, b, fmt.Sprint(n)); code != 200 {
			t.Fatalf("dialogue on a full disk: %d", code)
		}
		b.tunnel.next(t)
	}
	wantLiveOnFullDisk(t, a, b)
	a.call(t, "remove", "to", b.id).want(t, "remove on a full disk", replyBody(500))
	again, _ := a.openTunnel(t)
	again.close(t)

	p.kill(t)
	offline := exec.Command("imctl", "user", "create", "zoe", "--data", data)
	offline.Stdin = strings.NewReader("a password\n")
	out, err := offline.CombinedOutput()
	if n := offline.ProcessState.ExitCode(); n != exitFailed || !strings.Contains(string(out), "imctl: read-only: disk nearly full") {
		t.Errorf("user create without a server: %v\n%s", err, out)
	}
	p2 := startProcess(t, data, log)
	w2 := newWorld(t, p2)
	w.closed = true // its server is gone
	a.w, b.w = w2, w2
	a.login(t)
	b.login(t)
	if code := a.talk(t, b, "restarted"); code != 200 {
		t.Errorf("dialogue after a restart on a full disk: %d", code)
	}
	wantReadOnly(t, p2, w2, data)

	empty()
	eventually(t, "a registration taken", func() bool { return tryRegistration(t, w2, "with room") == 200 })
	if body := httpBody(t, p2.ops+"/readyz"); body != "ok\n" {
		t.Errorf("readyz with room: %s", body)
	}
	if v, err := p2.metric("imctl_disk_read_only"); v != 0 || err != nil {
		t.Errorf("imctl_disk_read_only with room is %v, %v", v, err)
	}
	if code := a.talk(t, b, "with room"); code != 200 {
		t.Errorf("dialogue with room: %d", code)
	}
	for _, m := range registered() {
		m.w = w2
		m.login(t)
		m.tunnel.close(t)
	}
	for _, line := range []string{"disk is nearly full: read-only", "the disk has free space again"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log does not say %q", line)
		}
	}
	p2.stop(t)
	w2.closed = true
}

// wantLiveOnFullDisk sends more than the reserve of the disk holds: dialogues are delivered without being stored. One of a
// session that takes part in kept conversations is refused.
func wantLiveOnFullDisk(t *testing.T, a, b *member) {
	t.Helper()
	text := `"` + strings.Repeat("x", 48<<10) + `"`
	for n := range 400 {
		id := fmt.Sprintf(`"large %d"`, n)
		a.tunnel.send(t, dialogue(id, b.id, text))
		a.tunnel.want(t, replyFrame(id, 200))
		b.tunnel.want(t, dialogueFrame(id, a.id, text))
	}
	keep, _ := a.openTunnel(t, "keep", "1")
	keep.send(t, dialogue(`"kept"`, b.id, `"p"`))
	keep.want(t, replyFrame(`"kept"`, 507))
	keep.close(t)
}

// A write that fails because no check came before it ends no session: NATS restarts inside the process, and the tunnels
// stay open.
func TestFullDiskWriteFails(t *testing.T) {
	t.Parallel()
	disk := mountSmall(t, "size=64m")
	data, log := filepath.Join(disk, "data"), new(logBuffer)
	p := startProcess(t, data, log)
	logOnFailure(t, log)
	w := newWorld(t, p)
	a, b := w.newFriends(t)
	credentials, err := embedded.ReadContext(data)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(credentials.URL, nats.UserInfo(credentials.User, credentials.Password), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JUNK", Subjects: []string{"junk"}}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = js.Publish(t.Context(), "junk", make([]byte, 64<<10))
	}
	t.Logf("filled the disk until: %v", err)
	eventually(t, "a restart of NATS", func() bool { return strings.Contains(log.String(), "the NATS server has restarted") })
	n := 0
	eventually(t, "a dialogue on the same tunnels", func() bool { n++; return a.talk(t, b, fmt.Sprint(n)) == 200 })
	b.tunnel.next(t)
	if code := b.talk(t, a, "back"); code != 200 {
		t.Errorf("dialogue in the other direction: got code %d, want 200", code)
	}
	a.tunnel.next(t)
	again, _ := a.openTunnel(t)
	again.close(t)
	wantReadOnly(t, p, w, data)
	eventually(t, "the stream gone", func() bool { return js.DeleteStream(t.Context(), "JUNK") == nil })
	eventually(t, "a registration taken", func() bool { return tryRegistration(t, w, "with room") == 200 })
	p.stop(t)
	w.closed = true
}

// A server that is attached to another NATS server stores nothing on its own disk, and refuses nothing when it is full.
func TestFullDiskAttached(t *testing.T) {
	t.Parallel()
	disk := mountSmall(t, "size=16m")
	s := start(t, startExternalNATS(t).attached, func(c *Config) { c.Data = filepath.Join(disk, "data") })
	w := newWorld(t, s)
	empty := fillBytes(t, disk)
	defer empty()
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue: %d", code)
	}
	if body := httpBody(t, "http://"+reachable(s.app.ops.Addr())+"/readyz"); body != "ok\n" {
		t.Errorf("readyz: %s", body)
	}
	if _, err := os.Stat(filepath.Join(disk, "data", "reserve")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an attached server must not hold a reserve: %v", err)
	}
}

// tryRegistration tries to register an account and returns the answer's code.
func tryRegistration(t *testing.T, w *world, account string) int {
	t.Helper()
	body, err := json.Marshal(map[string]string{"account": account, "password": "p", "mail": "m@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.try(t.Context(), 0, http.MethodPost, "/im/register", string(body))
	if err != nil {
		t.Fatalf("register: %v", err)
	}
	return r.code()
}

// registerOn registers large accounts, one after the other, until stop is called. stop returns the acknowledged
// accounts.
func registerOn(t *testing.T, w *world) (stop func(), registered func() []*member) {
	t.Helper()
	var all []*member
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			default:
			}
			m := &member{w: w, account: fmt.Sprintf("crowd %d", n), password: "p"}
			body := fmt.Sprintf(`{"account":%q,"password":"p","mail":"m@example.org","sign":%q}`, m.account, strings.Repeat("s", 400))
			r, err := w.try(t.Context(), 0, http.MethodPost, "/im/register", body)
			if err != nil {
				t.Errorf("register: %v", err)
				return
			}
			if r.code() == 200 {
				all = append(all, m)
			}
		}
	}()
	return func() { close(end); <-done }, func() []*member { return all }
}

// wantReadOnly checks that readiness, status, metrics and an administrator's command report a full disk.
func wantReadOnly(t *testing.T, p *process, w *world, data string) {
	t.Helper()
	r, err := http.Get(p.ops + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || r.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "ok, read-only: disk nearly full") {
		t.Errorf("readyz: %s %s %v", r.Status, body, err)
	}
	if v, err := p.metric("imctl_disk_read_only"); v != 1 || err != nil {
		t.Errorf("imctl_disk_read_only is %v, %v", v, err)
	}
	if _, err := p.metric("imctl_disk_free_bytes"); err != nil {
		t.Error(err)
	}
	out, err := exec.Command("imctl", "status", "--data", data).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || strings.Count(string(out), "read-only: disk nearly full") < 2 {
		t.Errorf("status: %v\n%s", err, out)
	}
	cmd := exec.Command("imctl", "user", "create", "zoe", "--data", data)
	cmd.Stdin = strings.NewReader("a password\n")
	out, err = cmd.CombinedOutput()
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.HasPrefix(string(out), "imctl: read-only: disk nearly full") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("user create: %v\n%s", err, out)
	}
	if code := tryRegistration(t, w, "late"); code != 500 {
		t.Errorf("registration on a full disk: %d", code)
	}
}
