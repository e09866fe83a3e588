package cmd

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSystemd runs a server as systemd does: with its sockets, a watchdog, and a socket for its states.
func TestSystemd(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	states, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer states.Close()
	// await returns the lines that the server has sent, up to a line that begins with want.
	await := func(want string) (lines []string) {
		t.Helper()
		for b := make([]byte, 4096); ; {
			states.SetReadDeadline(time.Now().Add(waitTimeout))
			n, err := states.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s after %q: %v", want, lines, err)
			}
			got := strings.Split(string(b[:n]), "\n")
			lines = append(lines, got...)
			for _, line := range got {
				if strings.HasPrefix(line, want) {
					return lines
				}
			}
		}
	}
	front, ops := passedSocket(t, "tcp", "127.0.0.1:0"), passedSocket(t, "unix", filepath.Join(dir, "ops.sock"))
	log := new(logBuffer)
	logOnFailure(t, log)
	cmd := exec.Command("sh", "-c", "LISTEN_PID=$$ exec imctl serve")
	cmd.ExtraFiles = []*os.File{front.file, ops.file}
	config := writeFile(t, filepath.Join(dir, "config.yaml"), "log: {level: info}\n")
	p := launch(t, cmd, filepath.Join(dir, "data"), log, "LISTEN_FDS=2", "LISTEN_FDNAMES=http:ops", "NOTIFY_SOCKET="+filepath.Join(dir, "notify"),
		"WATCHDOG_USEC=200000", "IMCTL_LISTEN=192.0.2.1:1", "IMCTL_OPS_LISTEN=")
	await("READY=1")
	p.awaitReady(t)
	await("STATUS=0 sessions, 0 users")
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	if p.url != "http://"+front.address {
		t.Errorf("the server is at %s, not at the socket %s", p.url, front.address)
	}
	if r, err := unixClient(ops.address).Get("http://localhost/readyz"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %v, %v", r, err)
	}
	for _, text := range []string{"log: {level: warn}\n", "log: {level: nothing}\n"} {
		writeFile(t, config, text)
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await("RELOADING=1")
		if lines := await("READY=1"); strings.Contains(strings.Join(lines, " "), "STOPPING") {
			t.Errorf("after a reload: %q", lines)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await("STOPPING=1")
	if err := p.wait(t); err != nil {
		t.Errorf("the server ends with %v", err)
	}
	if _, err := os.Lstat(ops.address); err != nil {
		t.Errorf("the socket of systemd is gone: %v", err)
	}
}

// socket is a listening socket for another process.
type socket struct {
	file    *os.File
	address string
}

func passedSocket(t *testing.T, network, address string) socket {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	defer l.Close() // the copy stays open
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return socket{f, l.Addr().String()}
}

// TestSystemdSocketNames: a socket with an unknown name is refused.
func TestSystemdSocketNames(t *testing.T) {
	t.Parallel()
	s := passedSocket(t, "tcp", "127.0.0.1:0")
	cmd := exec.Command("sh", "-c", "LISTEN_PID=$$ exec imctl serve --data "+filepath.Join(t.TempDir(), "data"))
	cmd.Dir, cmd.ExtraFiles = t.TempDir(), []*os.File{s.file}
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=imctl.socket")
	out, err := cmd.CombinedOutput()
	line, _ := bufio.NewReader(strings.NewReader(string(out))).ReadString('\n')
	if err == nil || !strings.Contains(line, `systemd passes a socket named "imctl.socket": set FileDescriptorName=http`) {
		t.Errorf("%v: %s", err, out)
	}
}
