package cmd

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"imctl/bridge"
)

// waitTimeout is how long a test waits for something that has to happen. It is long, since machines may be busy: a test
// that passes never waits for it.
const waitTimeout = 30 * time.Second

// TestMain puts the program itself into the path as imctl, for tests that need a process of its own: one to be killed,
// or one whose output is read.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"imctl": Main, "imctl-killed": killedMain})
}

// deployment is one server, or several that speak the protocol as one. Tests of the protocol ask it where each of their
// people connects, so that they hold for a server with NATS inside, one attached to another NATS, and more of them.
type deployment interface {
	// base is the URL, without a path, for the n-th person of a group that has to do with each other.
	base(n int) string
	// trust is what a client needs to know of the servers' certificates, nil without TLS.
	trust() *tls.Config
	// service does what administrators ask for.
	service() *bridge.Service
	// shown is all that the servers logged so far, and their metrics.
	shown(t testing.TB) string
}

// server is the deployment of one server with NATS inside, in this process.
type server struct {
	app *App
	log *logBuffer
	tls *tls.Config

	mayLog []string // parts of the lines of errors that the test brings about
}

// start starts a server that is closed when the test ends. It listens on free ports, hashes passwords cheaply and has
// no rate limits; change may alter that.
func start(t testing.TB, change ...func(*Config)) *server {
	t.Helper()
	c := Defaults()
	c.Listen, c.Ops.Listen, c.NATS.Listen = "127.0.0.1:0", "127.0.0.1:0", ""
	c.Data = filepath.Join(t.TempDir(), "data")
	c.Log.Level = "debug"
	c.NATS.Sync = Sync(time.Minute) // what these tests write need not outlive the machine
	c.Passwords.Memory, c.Passwords.Passes = MiB, 1
	c.Limits.Registrations, c.Limits.Logins, c.Limits.LoginFailures, c.Limits.Dialogues = Rate{}, Rate{}, Rate{}, Rate{}
	for _, f := range change {
		f(c)
	}
	s := &server{log: new(logBuffer)}
	level := new(slog.LevelVar)
	var err error
	if s.app, err = NewApp(t.Context(), c, newLogger(s.log, c.Log, level), level); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { s.close(t) })
	if strings.HasPrefix(s.app.URL(), "https:") {
		s.tls = trustSelfSigned(t, c.Data)
	}
	return s
}

// close ends the server in good order. Nothing that a client does makes it log an error.
func (s *server) close(t testing.TB) {
	t.Helper()
	if s.app == nil {
		return
	}
	if err := s.app.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	s.app = nil
	for line := range strings.Lines(s.log.String()) {
		meant := slices.ContainsFunc(s.mayLog, func(part string) bool { return strings.Contains(line, part) })
		if strings.Contains(line, "level=ERROR") && !meant || strings.Contains(line, "panic") {
			t.Errorf("logged: %s", line)
		}
	}
}

func (s *server) base(int) string          { return s.app.URL() }
func (s *server) trust() *tls.Config       { return s.tls }
func (s *server) service() *bridge.Service { return s.app.bridge.Service() }

func (s *server) shown(t testing.TB) string {
	t.Helper()
	return s.log.String() + httpBody(t, "http://"+reachable(s.app.ops.Addr())+"/metrics")
}

// overTLS is for the address that tests use, where the program would serve plain HTTP by itself.
func overTLS(c *Config) { c.TLS.Mode = "self-signed" }

// trustSelfSigned trusts the certificate that a server made for itself, and no other.
func trustSelfSigned(t testing.TB, data string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	err := filepath.WalkDir(filepath.Join(data, "tls"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		pool.AppendCertsFromPEM(b) // what is no certificate it passes over
		return err
	})
	if err != nil || pool.Equal(x509.NewCertPool()) {
		t.Fatalf("no certificate below %s: %v", data, err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// world is a deployment with people in it.
type world struct {
	deployment
	http *http.Client

	left bool // nobody uses it any more

	mu      sync.Mutex      // guards secrets
	secrets map[string]bool // passwords and tokens: nothing that is shown may hold one
}

// inhabit makes a world of a deployment, and looks when the test ends whether anything secret was shown.
func newWorld(t testing.TB, d deployment) *world {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: d.trust(), MaxIdleConnsPerHost: 64}
	w := &world{deployment: d, secrets: make(map[string]bool), http: &http.Client{
		Transport: transport, Timeout: waitTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() { w.leave(t) })
	return w
}

// leave looks whether anything secret was shown, once: at the end of the test, or before its server is stopped.
func (w *world) leave(t testing.TB) {
	t.Helper()
	if w.left {
		return
	}
	w.left = true
	w.http.CloseIdleConnections()
	w.checkNoSecrets(t)
}

func (w *world) secret(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[s] = true
}

// telling are traces of secrets that need no list of them: query strings, and hashes of passwords.
var secretPattern = regexp.MustCompile(`(?i)password=|token=|account=|%3d|argon2|"password"`)

// discreet checks that nothing secret was shown.
func (w *world) checkNoSecrets(t testing.TB) {
	t.Helper()
	shown := w.shown(t)
	if len(shown) == 0 || !strings.Contains(shown, "level=DEBUG") || !strings.Contains(shown, "imctl_call_seconds") {
		t.Error("logs at level debug and metrics should be there to be looked at")
	}
	if at := secretPattern.FindStringIndex(shown); at != nil {
		t.Errorf("logs or metrics tell too much: …%s…", shown[max(0, at[0]-200):min(len(shown), at[1]+100)])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.secrets {
		if at := strings.Index(shown, s); at >= 0 {
			t.Errorf("the secret %q was shown: …%s…", s, shown[max(0, at-200):min(len(shown), at+100)])
		}
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(waitTimeout), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// httpBody gets a page that has to be there.
func httpBody(t testing.TB, url string) string {
	t.Helper()
	body, err := tryBody(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func tryBody(url string) (string, error) {
	client := &http.Client{Timeout: waitTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, r.Status)
	}
	return string(b), err
}

// logBuffer is a log that a test reads while a server writes it.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
