package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestRestart: the data and the administrator's credentials are the same after a restart.
func TestRestart(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir())
	s := start(t, Options{Dir: d, Listen: "127.0.0.1:0"})
	put(t, bucket(t, s, "b"), "key", []byte("value"))
	first, err := ReadContext(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, d.Path(adminFile), 0o600)
	shutdown(t, s)

	s = start(t, Options{Dir: d, Listen: "127.0.0.1:0"})
	want(t, bucket(t, s, "b"), "key", []byte("value"))
	second, err := ReadContext(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	if second.URL != s.URL() {
		t.Errorf("the context has the URL %s, want %s", second.URL, s.URL())
	}
	if second.User != first.User || second.Password != first.Password {
		t.Error("the administrator's credentials changed with the restart")
	}
	if err := connectAs(second.URL, second.User, second.Password); err != nil {
		t.Errorf("connect with the administrator's context: %v", err)
	}
}

// TestConnectByTCP: only the administrator can log in by TCP. The users of the program can only log in within the
// process.
func TestConnectByTCP(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	refuseAll(t, s)
	for name, c := range map[string]struct{ user, password string }{
		"no user":              {"", ""},
		"the program's user":   {bridgeUser, s.secret},
		"the callout's user":   {calloutUser, s.secret},
		"the system's user":    {systemUser, s.secret},
		"a wrong password":     {adminUser, "wrong"},
		"no password":          {adminUser, ""},
		"the password's hash":  {adminUser, hashOf(t, s.admin.Password)},
		"an unknown user":      {"root", s.admin.Password},
		"the system account":   {"sys", "sys"},
		"the account for user": {Account, s.admin.Password},
	} {
		if err := connectAs(s.URL(), c.user, c.password); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: got %v, want %v", name, err, nats.ErrAuthorization)
		}
	}
	admin, err := s.connect("administrator", s.admin.User, s.admin.Password, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	program, err := s.Connect("program")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	// Both users are in one account.
	sub, err := program.SubscribeSync("hello")
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := admin.Publish("hello", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		t.Error(err)
	}
}

func hashOf(t *testing.T, secret string) string {
	t.Helper()
	h, err := hashSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestAdminContextFile: the file has the keys of a context of the nats tool.
func TestAdminContextFile(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir())
	s := start(t, Options{Dir: d, Listen: "127.0.0.1:0"})
	b, err := os.ReadFile(d.Path(adminFile))
	if err != nil {
		t.Fatal(err)
	}
	var c struct{ Description, URL, User, Password string }
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	if c.Description == "" || c.URL != s.URL() || c.User != adminUser || len(c.Password) != 32 {
		t.Errorf("the context is incomplete: description %q, url %q, user %q, password of %d characters",
			c.Description, c.URL, c.User, len(c.Password))
	}
}

// TestReadContextErrors: the error names the file and does not quote it.
func TestReadContextErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := ReadContext(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no context: got %v, want %v", err, fs.ErrNotExist)
	}
	for _, text := range []string{``, `{`, `{"password":"sesame`, `{"user":"admin"}`, `{"password":"sesame"}`} {
		if err := os.WriteFile(filepath.Join(dir, adminFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadContext(dir)
		wantLine(t, err, nil, dir, "administrator's context")
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

// TestWithoutListener: without an address the server does not listen, and works within the process.
func TestWithoutListener(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir())
	s := start(t, Options{Dir: d})
	if s.URL() != "" || s.ns.Load().Addr() != nil {
		t.Errorf("the server listens on %q, %v", s.URL(), s.ns.Load().Addr())
	}
	put(t, bucket(t, s, "b"), "key", []byte("value"))
	c, err := ReadContext(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != "" {
		t.Errorf("the context has the URL %s, want none", c.URL)
	}
}

func TestListenAddresses(t *testing.T) {
	t.Parallel()
	for listen, prefix := range map[string]string{
		"127.0.0.1:0": "nats://127.0.0.1:",
		"localhost:0": "nats://",
		":0":          "nats://127.0.0.1:",
		"0.0.0.0:0":   "nats://127.0.0.1:",
	} {
		s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: listen})
		if !strings.HasPrefix(s.URL(), prefix) || strings.HasSuffix(s.URL(), ":0") {
			t.Errorf("listen %s: got the URL %s", listen, s.URL())
		}
		if err := connectAs(s.URL(), s.admin.User, s.admin.Password); err != nil {
			t.Errorf("listen %s: %v", listen, err)
		}
	}
	for _, listen := range []string{"4222", "localhost", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"} {
		_, err := Start(t.Context(), Options{Dir: openDir(t, t.TempDir()), Listen: listen, Log: slog.New(slog.DiscardHandler)})
		wantLine(t, err, nil, listen)
	}
}

// TestPortInUse: a port in use fails the start before it changes the directory.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := openDir(t, t.TempDir())
	before := tree(t, d.Path())
	_, err = Start(t.Context(), Options{Dir: d, Listen: l.Addr().String(), Log: slog.New(slog.DiscardHandler)})
	wantLine(t, err, nil, l.Addr().String())
	if runtime.GOOS != "windows" && !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want %v", err, syscall.EADDRINUSE)
	}
	if after := tree(t, d.Path()); len(after) != len(before) {
		t.Errorf("the failed start left files: %v", after)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Dir: d, Listen: l.Addr().String()})
}

// TestFatalLine: a fatal line of nats-server becomes the error of the start, and the NATS server is stopped.
func TestFatalLine(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	d := openDir(t, t.TempDir())
	s := newServer(Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
	if s.disk, err = newDisk(d, 0, s.logger); err != nil {
		t.Fatal(err)
	}
	s.config = settings{name: "test", host: "127.0.0.1", port: port, dataDir: d.Path(), listen: true}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	ns, err := s.run(t.Context())
	wantLine(t, err, nil, "NATS server", fmt.Sprint(port), "in use")
	if ns.Running() {
		t.Error("the server is still running")
	}
}

// TestOtherMode: a start fails in a directory of another mode, and changes nothing.
func TestOtherMode(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir())
	s := start(t, Options{Dir: d})
	put(t, bucket(t, s, "b"), "key", []byte("value"))
	shutdown(t, s)
	if err := os.WriteFile(d.Path(modeFile), []byte("cluster\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, d.Path())
	_, err := Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
	wantLine(t, err, ErrDirMode, d.Path(), "imctl backup", "imctl restore")
	if after := tree(t, d.Path()); len(after) != len(before) {
		t.Errorf("the failed start changed the directory: %v", after)
	}
}

// TestOddDirectoryNames: any path of the data directory is quoted correctly in the configuration text.
func TestOddDirectoryNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{`a b`, `quo"te`, `back\slash`, `$HOME`, "Grüße", "{# x", "new\nline"} {
		if runtime.GOOS == "windows" && strings.ContainsAny(name, "\"\\\n") {
			continue
		}
		d := openDir(t, filepath.Join(t.TempDir(), name))
		s := start(t, Options{Dir: d})
		put(t, bucket(t, s, "b"), "key", []byte("value"))
		if _, err := os.Stat(d.Path("jetstream", Account, "streams", "KV_b")); err != nil {
			t.Errorf("%q: the store is not in the directory: %v", name, err)
		}
	}
}

// TestSync: Options.Sync sets the sync interval of JetStream, and 0 means always.
func TestSync(t *testing.T) {
	t.Parallel()
	always := start(t, Options{Dir: openDir(t, t.TempDir())}).ns.Load().JetStreamConfig()
	if !always.SyncAlways {
		t.Error("sync 0: writes are not synced before the acknowledgement")
	}
	every := start(t, Options{Dir: openDir(t, t.TempDir()), Sync: 3 * time.Second}).ns.Load().JetStreamConfig()
	if every.SyncAlways || every.SyncInterval != 3*time.Second {
		t.Errorf("sync 3s: got always %v, interval %v", every.SyncAlways, every.SyncInterval)
	}
}

// TestLargeStreamLimit: the size limit of a stream may be higher than the free disk space.
func TestLargeStreamLimit(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir())})
	_, err := jetStream(t, s).CreateStream(t.Context(), jetstream.StreamConfig{Name: "LARGE", MaxBytes: 1 << 50})
	if err != nil {
		t.Error(err)
	}
}

// TestLog: a server that starts, works and stops logs nothing above level debug, and no secret at any level.
func TestLog(t *testing.T) {
	t.Parallel()
	d := openDir(t, t.TempDir())
	var log logBuffer
	s, err := Start(t.Context(), Options{Dir: d, Listen: "127.0.0.1:0", Log: log.logger(slog.LevelDebug)})
	if err != nil {
		t.Fatal(err)
	}
	put(t, bucket(t, s, "b"), "key", []byte("value"))
	if err := connectAs(s.URL(), s.admin.User, s.admin.Password); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			t.Errorf("without an error, got the line: %s", line)
		}
	}
	if !strings.Contains(log.String(), "Server is ready") {
		t.Error("the log has no lines of the NATS server")
	}
	if err := connectAs(s.URL(), s.admin.User, "guess"); err == nil {
		t.Fatal("a wrong password connected")
	}
	shutdown(t, s)
	for _, secret := range []string{s.secret, s.admin.Password, "$2a$", "guess"} {
		if strings.Contains(log.String(), secret) {
			t.Error("the log has a secret")
		}
	}
	if strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("wrong password: want a warning and no error in the log: %s", log.String())
	}
}

// TestStartCancelled: a start ends with its context, and the next start works.
func TestStartCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := openDir(t, t.TempDir())
	if _, err := Start(ctx, Options{Dir: d, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	start(t, Options{Dir: d})
}

// TestShutdown: Shutdown ends with its context. A second call waits until the server has stopped.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0"})
	if err := s.Healthy(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: got %v, want %v", err, context.Canceled)
	}
	shutdown(t, s)
	if s.ns.Load().Running() {
		t.Error("the server is still running")
	}
	if err := s.Healthy(); err == nil {
		t.Error("a stopped server is healthy")
	}
	if err := connectAs(s.URL(), s.admin.User, s.admin.Password); err == nil {
		t.Error("a stopped server accepts connections")
	}
	select {
	case err := <-s.Failed():
		t.Errorf("a server that was shut down reports a failure: %v", err)
	default:
	}
}

// TestFailed: a server whose JetStream stops reports a failure.
func TestFailed(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Log: slog.New(slog.DiscardHandler)})
	if err := s.ns.Load().ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.Failed():
		wantLine(t, err, nil, "JetStream")
	case <-time.After(20 * time.Second):
		t.Fatal("timeout: no failure is reported")
	}
	if err := s.Healthy(); err == nil {
		t.Error("the server is healthy without JetStream")
	}
}
