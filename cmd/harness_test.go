package cmd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"imctl/bridge"
)

// waitTimeout is how long a test waits for an expected event. It is long, since machines may be busy. A passing test
// never waits that long.
const waitTimeout = 30 * time.Second

// TestMain adds imctl to the PATH, for tests that need a separate process, and imctl-killed, which kills itself at a step
// of a restore.
func TestMain(m *testing.M) {
	testscript.Main(thenCloseBrowsers{m}, map[string]func(){"imctl": Main, "imctl-killed": killedMain})
}

// sharedDirectories are directories that several tests use.
var sharedDirectories struct {
	sync.Mutex
	all []string
}

// sharedDirectory makes a directory for several tests, which TestMain removes.
func sharedDirectory() (string, error) {
	dir, err := os.MkdirTemp("", "imctl-shared-")
	sharedDirectories.Lock()
	defer sharedDirectories.Unlock()
	sharedDirectories.all = append(sharedDirectories.all, dir)
	return dir, err
}

// deployment is one server, or several servers on one NATS. The tests of the protocol run on several deployments: with
// embedded NATS, with attached NATS, and with more than one server.
type deployment interface {
	// base returns the URL, without a path, of the server for the n-th user of a test.
	base(n int) string
	// trust returns the TLS configuration of clients, nil without TLS.
	trust() *tls.Config
	// service returns the service with the functions of an administrator, nil if the server is another process.
	services() *bridge.Services
	// output returns everything that the servers have logged, and their metrics.
	output(t testing.TB) string
}

// server is a deployment of one server with embedded NATS, in this process.
type server struct {
	app *App
	log *logBuffer
	tls *tls.Config

	mayLog []string // substrings of error lines that the test causes
}

// start starts a server and closes it at the end of the test. It listens on free ports, hashes passwords cheaply and
// has no rate limits. change can change the configuration.
func start(t testing.TB, change ...func(*Config)) *server {
	t.Helper()
	s, err := tryStart(t, testConfig(t, change...))
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return s
}

// testConfig returns the configuration of a server of start.
func testConfig(t testing.TB, change ...func(*Config)) *Config {
	t.Helper()
	c := Defaults()
	c.Listen, c.Ops.Listen, c.NATS.Listen = "127.0.0.1:0", "127.0.0.1:0", ""
	c.Data = filepath.Join(t.TempDir(), "data")
	c.Log.Level = "debug"
	c.HTTP.Hosts = rawHosts
	c.NATS.Sync = Sync(time.Minute) // the data need not survive power loss
	c.Passwords.Memory, c.Passwords.Passes = MiB, 1
	c.Limits = withoutRates(c.Limits)
	for _, f := range change {
		f(c)
	}
	return c
}

// tryStart starts a server and closes it at the end of the test. It may be called from any goroutine.
func tryStart(t testing.TB, c *Config) (*server, error) {
	s := &server{log: new(logBuffer)}
	level := new(slog.LevelVar)
	var err error
	if s.app, err = NewApp(t.Context(), c, newLogger(s.log, c.Log, level), level); err != nil {
		return nil, fmt.Errorf("%w; its log:\n%s", err, s.log)
	}
	t.Cleanup(func() { s.close(t) })
	if strings.HasPrefix(s.app.URL(), "https:") {
		s.tls = trustSelfSigned(t, c.Data)
	}
	return s, nil
}

// rawHosts are the host names in the requests that tests write byte by byte.
var rawHosts = []string{"im.example.org", "x"}

// withoutRates returns limits without rates, for clients that work faster than people.
func withoutRates(l LimitsConfig) LimitsConfig {
	fields := reflect.ValueOf(&l).Elem()
	for i := range fields.NumField() {
		if rate, ok := fields.Field(i).Addr().Interface().(*Rate); ok {
			*rate = Rate{}
		}
	}
	return l
}

// noRates are the same limits for a server that is another process.
func noRates() (env []string) {
	for _, s := range Defaults().settings() {
		if _, ok := s.value.(*Rate); ok {
			env = append(env, "IMCTL_"+strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))+"=0")
		}
	}
	return env
}

// close shuts the server down gracefully. It fails the test if the server has logged an error that mayLog does not
// allow.
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
		allowed := slices.ContainsFunc(s.mayLog, func(part string) bool { return strings.Contains(line, part) })
		if strings.Contains(line, "level=ERROR") && !allowed || strings.Contains(line, "panic") {
			t.Errorf("the server logged: %s", line)
		}
	}
}

func (s *server) base(int) string            { return s.app.URL() }
func (s *server) trust() *tls.Config         { return s.tls }
func (s *server) services() *bridge.Services { return s.app.bridge.Services() }

func (s *server) output(t testing.TB) string {
	t.Helper()
	body, err := tryBody(s.app.opsURL()+"/metrics", s.tls)
	if err != nil {
		t.Fatal(err)
	}
	return s.log.String() + body
}

// overTLS enables TLS, which is off by default on a loopback address.
func overTLS(c *Config) { c.TLS.Mode = "self-signed" }

// trustSelfSigned returns a TLS configuration that trusts only the self-signed certificate in a data directory.
func trustSelfSigned(t testing.TB, data string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	err := filepath.WalkDir(filepath.Join(data, "tls"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		pool.AppendCertsFromPEM(b) // ignores files that are not certificates
		return err
	})
	if err != nil || pool.Equal(x509.NewCertPool()) {
		t.Fatalf("no certificate below %s: %v", data, err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// world is a deployment with its test users.
type world struct {
	deployment
	http *http.Client
	// netDial connects tunnels; nil: as net.Dialer does.
	netDial func(ctx context.Context, network, addr string) (net.Conn, error)

	closed bool

	mu      sync.Mutex      // guards secrets
	secrets map[string]bool // passwords and tokens, which must not appear in logs and metrics
}

// newWorld returns a world on a deployment. At the end of the test it checks that logs and metrics contain no secrets.
func newWorld(t testing.TB, d deployment) *world {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: d.trust(), MaxIdleConnsPerHost: 64}
	w := &world{deployment: d, secrets: make(map[string]bool), http: &http.Client{
		Transport: transport, Timeout: waitTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(func() { w.close(t) })
	return w
}

// close checks that logs and metrics contain no secrets, once. A test that stops its server must call it before.
func (w *world) close(t testing.TB) {
	t.Helper()
	if w.closed {
		return
	}
	w.closed = true
	w.http.CloseIdleConnections()
	w.checkNoSecrets(t)
}

// secret adds a secret for checkNoSecrets.
func (w *world) secret(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[s] = true
}

// secretTraces are traces of secrets, in lower case: query strings of logins, and hashes of passwords.
var secretTraces = []string{"password=", "token=", "account=", "%3d", "argon2", `"password"`}

// checkNoSecrets checks that logs and metrics contain no secrets.
func (w *world) checkNoSecrets(t testing.TB) {
	t.Helper()
	output := w.output(t)
	if !strings.Contains(output, "level=DEBUG") && !strings.Contains(output, `"level":"DEBUG"`) || !strings.Contains(output, "imctl_call_seconds") {
		t.Error("no debug log or no metrics to check for secrets")
	}
	lower := strings.ToLower(output)
	for _, trace := range secretTraces {
		if at := strings.Index(lower, trace); at >= 0 {
			t.Errorf("a secret in the logs or metrics: …%s…", lower[max(0, at-200):min(len(lower), at+100)])
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.secrets {
		if at := strings.Index(output, s); at >= 0 {
			t.Errorf("the secret %q in the logs or metrics: …%s…", s, output[max(0, at-200):min(len(output), at+100)])
		}
	}
}

// eventually waits until cond returns true. It fails the test after waitTimeout. what describes the condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(waitTimeout), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("timeout waiting for: %s", what)
		case <-tick.C:
		}
	}
}

// httpBody returns the body of a page. It fails the test if the status is not 200.
func httpBody(t testing.TB, url string) string {
	t.Helper()
	body, err := tryBody(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// tryBody returns the body of a page, and an error if the status is not 200.
func tryBody(url string, trust ...*tls.Config) (string, error) {
	body, status, err := fetch(url, trust...)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d", url, status)
	}
	return body, err
}

// fetch returns the body and the status of a page. trust is the TLS configuration, if there is one.
func fetch(url string, trust ...*tls.Config) (body string, status int, err error) {
	transport := &http.Transport{DisableKeepAlives: true}
	if len(trust) > 0 {
		transport.TLSClientConfig = trust[0]
	}
	client := &http.Client{Timeout: waitTimeout, Transport: transport}
	r, err := client.Get(url)
	if err != nil {
		return "", 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), r.StatusCode, err
}

// logOnFailure prints the log of a server if the test fails.
func logOnFailure(t testing.TB, log *logBuffer) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the server:\n%s", log)
		}
	})
}

// logBuffer is a log that a test can read while a server writes it.
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

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// seriousLines returns the lines of a log that are warnings and errors.
func seriousLines(log string) string {
	var all strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "level=DEBUG") && !strings.Contains(line, "level=INFO") {
			all.WriteString(line)
		}
	}
	return all.String()
}
