package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// dialAs connects by the socket of a data directory.
func dialAs(dir string, options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append(options, nats.InProcessServer(AdminProvider{dir}), nats.NoReconnect())...)
}

// TestAdminSocket: a server without a listener is administered by the socket, whose clients need no credentials. A
// socket that a killed server has left is replaced, and a shutdown removes the socket.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	if _, err := DialAdmin(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a data directory: got %v, want %v", err, fs.ErrNotExist)
	}
	d := openDir(t, path)
	leaveSocket(t, d.Path(socketFile))
	if _, err := DialAdmin(path); err == nil || errors.Is(err, fs.ErrPermission) {
		t.Errorf("a stale socket: got %v, want a refused connection", err)
	}
	s, err := Start(t.Context(), Options{Dir: d, Admin: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, d.Path(socketFile), 0o600)
	for name, option := range map[string]nats.Option{
		"no credentials":    func(*nats.Options) error { return nil },
		"wrong credentials": nats.UserInfo("alice", "wrong"),
		"a token":           nats.Token("wrong"),
	} {
		nc, err := dialAs(path, option)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if js, err := jetstream.New(nc); err != nil {
			t.Error(err)
		} else if _, err := js.AccountInfo(t.Context()); err != nil {
			t.Errorf("%s: account of the administrator: %v", name, err)
		}
		nc.Close()
	}
	shutdown(t, s)
	if _, err := os.Lstat(d.Path(socketFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the shutdown: got %v, want no socket", err)
	}
}

// leaveSocket leaves what a killed server leaves.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		if err := os.WriteFile(path, []byte(`\\.\pipe\imctl-gone`), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAdminSocketLongPath: a data directory may have a longer path than a socket.
func TestAdminSocketLongPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), strings.Repeat("a long name ", 12), "data")
	s := start(t, Options{Dir: openDir(t, path), Admin: true})
	if s.socket == nil {
		t.Fatal("no socket is open")
	}
	nc, err := dialAs(path)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

// TestAdminSocketIsAFile: a file of that name is neither removed nor a reason not to start.
func TestAdminSocketIsAFile(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the file has the name of a pipe")
	}
	d := openDir(t, filepath.Join(t.TempDir(), "data"))
	if err := os.WriteFile(d.Path(socketFile), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(logBuffer)
	start(t, Options{Dir: d, Admin: true, Log: log.logger(slog.LevelInfo)})
	if b, err := os.ReadFile(d.Path(socketFile)); err != nil || string(b) != "mine" {
		t.Errorf("the file has %q, %v", b, err)
	}
	if !strings.Contains(log.String(), "admin.sock is not a socket: remove it") {
		t.Errorf("the log does not name the file: %s", log)
	}
}

// TestAdminSocketFirstLine: a first line other than CONNECT, and one that does not end, close the connection.
func TestAdminSocketFirstLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	start(t, Options{Dir: openDir(t, path), Admin: true, Log: slog.New(slog.DiscardHandler)})
	for _, line := range []string{"PING\r\n", "CONNECT {\r\n", "GET / HTTP/1.1\r\n", strings.Repeat("x", maxConnect+1)} {
		c, err := DialAdmin(path)
		if err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewReader(c)
		if info, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(info, "INFO ") {
			t.Fatalf("got %q, %v; want INFO", info, err)
		}
		if _, err := fmt.Fprint(c, line); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if answer, err := answers.ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20q: got the answer %q, %v; want the end", line, answer, err)
		}
		_ = c.Close()
	}
}

// TestDrainAdmin: the server of a command waits for the clients of its socket, and accepts no more.
func TestDrainAdmin(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	s := start(t, Options{Dir: openDir(t, path), Admin: true})
	nc, err := dialAs(path)
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	closed, drain := context.WithCancel(t.Context())
	go func() { drained <- s.DrainAdmin(t.Context()) }()
	go func() {
		for {
			if _, err := os.Lstat(s.dir.Path(socketFile)); err != nil {
				drain()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	<-closed.Done()
	if _, err := nc.RTT(); err != nil {
		t.Errorf("the client was disconnected: %v", err)
	}
	if _, err := DialAdmin(path); err == nil {
		t.Error("another client has connected")
	}
	select {
	case err := <-drained:
		t.Errorf("DrainAdmin returned %v before the client disconnected", err)
	default:
	}
	nc.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestFindDir: a directory in which no server has run is not found, and nothing is written there.
func TestFindDir(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := FindDir(filepath.Join(root, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	for name, want := range map[string]error{"": ErrNoServerFiles, "passwd": ErrNoServerFiles, lockFile: ErrNoServerFiles, modeFile: nil, "jetstream": nil, "restore.json": nil} {
		path := filepath.Join(root, "with-"+name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if name != "" {
			if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := tree(t, path)
		if err := FindDir(path); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", name, err, want)
		}
		if after := tree(t, path); len(after) != len(before) {
			t.Errorf("%q: files changed: %v", name, after)
		}
	}
	locked := openDir(t, filepath.Join(root, "locked"))
	if err := FindDir(locked.path); err != nil {
		t.Errorf("a directory in which a server starts: %v", err)
	}
	if err := CheckUnlocked(locked.path); !errors.Is(err, ErrDirInUse) {
		t.Errorf("a locked directory: got %v, want %v", err, ErrDirInUse)
	}
}

// TestCheckDir: a server starts in an empty directory, also in that of a new file system, and in that of a server. It
// does not start among the files of others.
func TestCheckDir(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for names, want := range map[string]error{
		"": nil, "lost+found": nil, "lock .probe-12 .mode-3": nil, "passwd mode": nil, "passwd streams.json": nil, "tls lost+found keys": nil,
		"passwd": ErrDirForeign, "lost+found passwd": ErrDirForeign, ".bashrc": ErrDirForeign, "lock passwd": ErrDirForeign,
	} {
		path := filepath.Join(root, "of "+names)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(names) {
			if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := CheckDir(path); !errors.Is(err, want) || want != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v, want %v", names, err, want)
		}
	}
}
