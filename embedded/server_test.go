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

// What was written is there after a restart, and so are the administrator's credentials.
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
		t.Errorf("the context names %s, the server is at %s", second.URL, s.URL())
	}
	if second.User != first.User || second.Password != first.Password {
		t.Error("the administrator's credentials changed with the restart")
	}
	if err := connectAs(second.URL, second.User, second.Password); err != nil {
		t.Errorf("the administrator's context does not connect: %v", err)
	}
}

// The door takes the administrator and nobody else; the program's own user gets
// in from within the process only.
func TestWhoMayConnect(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	refuseAll(t, s)
	for name, c := range map[string]struct{ user, password string }{
		"nobody":               {"", ""},
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
	admin, err := s.Admin("administrator")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	program, err := s.Connect("program")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	// Both are in one account.
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

// The file is one that the nats tool reads: these are its names.
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
		t.Errorf("the context is not whole: description %q, url %q, user %q, password of %d characters",
			c.Description, c.URL, c.User, len(c.Password))
	}
}

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
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestWithoutDoor(t *testing.T) {
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
		t.Errorf("the context names %s", c.URL)
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
			t.Errorf("listen %s: the URL is %s", listen, s.URL())
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

// A port in use is told before anything in the directory is touched.
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
		t.Errorf("the refused start left files behind: %v", after)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Dir: d, Listen: l.Addr().String()})
}

// What nats-server calls fatal becomes the error, and what had started is stopped.
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
	if s.disk, err = newDisk(d, 0, s.log.log); err != nil {
		t.Fatal(err)
	}
	s.set = settings{name: "x", host: "127.0.0.1", port: port, storeDir: d.Path(), listen: true}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	ns, err := s.run(t.Context())
	wantLine(t, err, nil, "NATS server", fmt.Sprint(port), "in use")
	if ns.Running() {
		t.Error("the server still runs")
	}
}

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
		t.Errorf("the refused start changed the directory: %v", after)
	}
}

// Paths are written into a configuration text: nothing in them may end a string there.
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
			t.Errorf("%q: the store is elsewhere: %v", name, err)
		}
	}
}

func TestSync(t *testing.T) {
	t.Parallel()
	always := start(t, Options{Dir: openDir(t, t.TempDir())}).ns.Load().JetStreamConfig()
	if !always.SyncAlways {
		t.Error("sync 0 does not force each write to the disk")
	}
	every := start(t, Options{Dir: openDir(t, t.TempDir()), Sync: 3 * time.Second}).ns.Load().JetStreamConfig()
	if every.SyncAlways || every.SyncInterval != 3*time.Second {
		t.Errorf("sync 3s: always %v, every %v", every.SyncAlways, every.SyncInterval)
	}
}

// The size limit of a stream is not measured against what is free on this disk today.
func TestLargeStreamLimit(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir())})
	_, err := jetStream(t, s).CreateStream(t.Context(), jetstream.StreamConfig{Name: "LARGE", MaxBytes: 1 << 50})
	if err != nil {
		t.Error(err)
	}
}

// A server that starts, works and stops says nothing above level debug, and no
// secret at any level.
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
			t.Errorf("in good order it says: %s", line)
		}
	}
	if !strings.Contains(log.String(), "Server is ready") {
		t.Error("the server's own lines are not in the log")
	}
	if err := connectAs(s.URL(), s.admin.User, "guess"); err == nil {
		t.Fatal("a wrong password connected")
	}
	shutdown(t, s)
	for _, secret := range []string{s.secret, s.admin.Password, "$2a$", "guess"} {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
	if strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("a stranger's wrong password is worth a warning: %s", log.String())
	}
}

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

func TestShutdown(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0"})
	if err := s.Healthy(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with no time: got %v, want %v", err, context.Canceled)
	}
	shutdown(t, s) // Again, and this time it waits.
	if s.ns.Load().Running() {
		t.Error("the server still runs")
	}
	if err := s.Healthy(); err == nil {
		t.Error("a stopped server is healthy")
	}
	if err := connectAs(s.URL(), s.admin.User, s.admin.Password); err == nil {
		t.Error("a stopped server takes connections")
	}
	select {
	case err := <-s.Failed():
		t.Errorf("a server that was stopped has not failed: %v", err)
	default:
	}
}

// A server that loses JetStream says so to whoever runs it.
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
		t.Fatal("nobody was told")
	}
	if err := s.Healthy(); err == nil {
		t.Error("it is healthy without JetStream")
	}
}
