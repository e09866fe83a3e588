package cmd

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Lines of the shipped files that the tests replace, since they name ports, files and hosts of a real machine.
const (
	nginxConf, nginxPath = "../contrib/nginx/imctl.conf", "../contrib/nginx/imctl-path.conf"
	caddyfile            = "../contrib/caddy/Caddyfile"
	caddyPath            = "# Below the path /chat/ of another site"
)

// behind is a deployment of one server behind a proxy.
type behind struct {
	*server
	url string // of the proxy, with the path below which the server is
	tls *tls.Config
}

func (b behind) base(int) string    { return b.url }
func (b behind) trust() *tls.Config { return b.tls }

// proxySite is what a test runs a proxy with.
type proxySite struct {
	dir      string // for the files of the proxy
	upstream string // of the server, as listen names it
	port     string // with TLS, where the server has a host of its own
	plain    string // port without TLS, where the server is below /chat/
	ca       *authority
}

// TestProxies runs the files in contrib with nginx and Caddy: on a host of its own, to a TCP port and to a Unix
// socket, and below a path.
func TestProxies(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(*testing.T, proxySite){"nginx": runNginx, "caddy": runCaddy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("tcp", func(t *testing.T) { t.Parallel(); testProxy(t, false, run) })
			t.Run("unix", func(t *testing.T) { t.Parallel(); testProxy(t, true, run) })
		})
	}
}

func testProxy(t *testing.T, overUnix bool, run func(*testing.T, proxySite)) {
	dir := shortDir(t)
	s := start(t, func(c *Config) {
		c.HTTP.Hosts = nil
		if overUnix {
			c.Listen = unixPrefix + filepath.Join(dir, "imctl.sock")
		} else {
			c.HTTP.TrustedProxies = []string{"127.0.0.1"}
		}
	})
	where := proxySite{dir: dir, upstream: addressOf(s.app.front), port: freePort(t), plain: freePort(t), ca: newAuthority(t)}
	where.ca.issue(t, "proxy", func(*x509.Certificate) {})
	pool := x509.NewCertPool()
	pool.AddCert(where.ca.cert)
	run(t, where)
	trusted := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	urls := []string{"https://127.0.0.1:" + where.port, "http://127.0.0.1:" + where.plain + "/chat"}
	for _, url := range urls {
		w := newWorld(t, behind{s, url, trusted})
		testBehindProxy(t, w, url)
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "trusted_proxies") || strings.Contains(line, "http.origins") && !strings.Contains(line, "origin=https://evil.example ") {
			t.Errorf("the server warns of the proxy: %s", line)
		}
	}
	// The proxy notes requests that no server answers.
	s.app.front.Close()
	for _, url := range urls {
		if _, _, err := fetch(url+"/im/login?account=ann&password=hunter2", trusted); err != nil {
			t.Error(err)
		}
	}
	checkProxyLogs(t, dir)
}

// testBehindProxy does what clients do, through a proxy.
func testBehindProxy(t *testing.T, w *world, base string) {
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("a dialogue is answered %d", code)
	}
	for origin, want := range map[string]bool{u.Scheme + "://" + u.Host: true, "https://evil.example": false} {
		c, err := w.tryDial(t.Context(), w.dialer(), 0, "/im/login?"+query("account", a.account, "password", a.password), http.Header{"Origin": {origin}})
		if (err == nil) != want {
			t.Errorf("the origin %s: %v", origin, err)
		}
		if err == nil {
			c.ws.Close()
		}
	}

	content := fileBytes(3<<20 + 17) // more than nginx takes by default
	f, status := a.sendsFile(t, b, "large.bin", bytes.NewReader(content))
	if status != 200 || f.Code != 200 {
		t.Fatalf("an upload is answered %d, %d", status, f.Code)
	}
	if answer, got := b.readsFile(t, f.id(), "Range", "bytes=1000000-1999999"); answer.StatusCode != http.StatusPartialContent || !bytes.Equal(got, content[1000000:2000000]) {
		t.Errorf("a range is answered %d, %d bytes", answer.StatusCode, len(got))
	}

	// Redirects stay below the path, and the page's files are where it looks for them.
	r := w.do(t, 0, http.MethodGet, "/", "")
	if r.status != http.StatusFound {
		t.Errorf("/ is answered %d", r.status)
	}
	to, err := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path + "/"}).Parse(r.header.Get("Location"))
	if err != nil || to.String() != base+pagePath {
		t.Errorf("/ redirects to %v, %v", to, err)
	}
	if r := w.do(t, 0, http.MethodGet, pagePath, ""); r.status != 200 || !strings.Contains(r.body, "imctl") {
		t.Errorf("the page is answered %d", r.status)
	}

	// The proxy names the client, and no client names another one.
	d := w.dialer()
	d.NetDialContext = from(t, attackerAddress).DialContext
	c, err := w.tryDial(t.Context(), d, 0, "/im/login?"+query("account", a.account, "password", "wrong"),
		http.Header{"X-Forwarded-For": {"198.51.100.7"}, "Forwarded": {"for=198.51.100.8"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.ws.Close()
	if got := (reply{body: c.next(t)}).code(); got != 505 {
		t.Errorf("a wrong password is answered %d", got)
	}
	if log := w.output(t); !strings.Contains(log, `msg="login failed" address=`+attackerAddress+"\n") || strings.Contains(log, "198.51.100.") {
		t.Errorf("the client's address is not %s: %s", attackerAddress, log)
	}
}

// checkProxyLogs checks that the logs of a proxy have requests, and no query strings.
func checkProxyLogs(t *testing.T, dir string) {
	t.Helper()
	logins := 0
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != ".log" {
			return err
		}
		text, err := os.ReadFile(name)
		logins += strings.Count(string(text), "/im/login")
		for _, secret := range []string{"hunter2", "pass+word", "pass%20word", "password", "token", "account"} {
			if at := bytes.Index(text, []byte(secret)); at >= 0 {
				t.Errorf("%s has %q: …%s…", filepath.Base(name), secret, text[max(0, at-100):min(len(text), at+100)])
			}
		}
		return err
	})
	if err != nil || logins == 0 {
		t.Errorf("%d logins in the logs, %v", logins, err)
	}
}

// shortDir returns a directory whose path is short enough for a Unix socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "imctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// freePort returns a port of 127.0.0.1 that is free at this moment: a proxy does not tell which one it took.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// adapt returns a shipped file with replacements. pairs are old and new texts. Each old text must be there.
func adapt(t testing.TB, file string, pairs ...string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s lacks %q", file, pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func runNginx(t *testing.T, s proxySite) {
	upstream := []string{"server 127.0.0.1:8080;", "server " + s.upstream + ";"}
	if strings.HasPrefix(s.upstream, unixPrefix) {
		upstream = []string{"	server 127.0.0.1:8080;\n	# server unix:/run/imctl/http.sock;", "	server " + s.upstream + ";"}
	}
	conf := writeFile(t, filepath.Join(s.dir, "imctl.conf"), adapt(t, nginxConf, append(upstream,
		"	listen 80;\n	listen [::]:80;\n", "	listen unix:"+filepath.Join(s.dir, "redirect.sock")+";\n",
		"	listen 443 ssl http2;\n	listen [::]:443 ssl http2;\n", "	listen 127.0.0.1:"+s.port+" ssl http2;\n",
		"/etc/letsencrypt/live/im.example.org/fullchain.pem", s.ca.file("proxy.crt"),
		"/etc/letsencrypt/live/im.example.org/privkey.pem", s.ca.file("proxy.key"), "/var/log/nginx", s.dir)...))
	path := writeFile(t, filepath.Join(s.dir, "imctl-path.conf"), adapt(t, nginxPath, "/var/log/nginx", s.dir))
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the directories of tests are closed to other users
	}
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s;\n", kind, filepath.Join(s.dir, kind))
	}
	main := writeFile(t, filepath.Join(s.dir, "nginx.conf"), fmt.Sprintf(`daemon off; %s
pid %[2]s/nginx.pid;
error_log %[2]s/error.log info;
events {}
http {
access_log off;
%[3]s
include %[4]s;
server { listen 127.0.0.1:%[5]s; include %[6]s; }
}
`, user, s.dir, temporary, conf, s.plain, path))
	runProxy(t, s, exec.Command(program(t, "nginx", "/usr/sbin/nginx"), "-e", filepath.Join(s.dir, "error.log"), "-p", s.dir, "-c", main))
}

func runCaddy(t *testing.T, s proxySite) {
	upstream := strings.Replace(s.upstream, unixPrefix, "unix/", 1)
	text := adapt(t, caddyfile, "reverse_proxy 127.0.0.1:8080", "reverse_proxy "+upstream, "/var/log/caddy", s.dir,
		"{\n	# Caddy's own log", "{\n	admin off\n	auto_https disable_redirects\n	default_bind 127.0.0.1\n	# Caddy's own log",
		"	log {\n		format filter", "	log {\n		output file "+filepath.Join(s.dir, "caddy.log")+"\n		format filter",
		"\nim.example.org {", fmt.Sprintf("\nhttps://127.0.0.1:%s {\n	tls %s %s", s.port, s.ca.file("proxy.crt"), s.ca.file("proxy.key")))
	own, below, found := strings.Cut(text, caddyPath)
	if !found {
		t.Fatalf("%s lacks %q", caddyfile, caddyPath)
	}
	_, below, _ = strings.Cut(below, "\n#\n")
	below = strings.ReplaceAll("\n"+below, "\n# ", "\n")
	below = strings.Replace(below, "www.example.org {", "http://127.0.0.1:"+s.plain+" {", 1)
	cmd := exec.Command(program(t, "caddy"), "run", "--config", writeFile(t, filepath.Join(s.dir, "Caddyfile"), own+below), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	runProxy(t, s, cmd)
}

// program returns the path of a proxy. Without it the test is skipped, or fails in CI.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (apt-get install nginx-light caddy)", names[0])
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// runProxy starts a proxy, waits until it listens, and ends it with the test.
func runProxy(t *testing.T, s proxySite, cmd *exec.Cmd) {
	t.Helper()
	said := new(logBuffer)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended by itself, which the test has noticed
		select {
		case <-over:
		case <-time.After(waitTimeout):
			t.Errorf("%s does not end", cmd.Path)
			_ = cmd.Process.Kill()
			<-over
		}
	})
	logOnFailure(t, said)
	for _, port := range []string{s.port, s.plain} {
		eventually(t, "the proxy listens", func() bool {
			select {
			case err := <-over:
				over <- err
				t.Fatalf("%s has ended: %v\n%s", cmd.Path, err, said)
			default:
			}
			c, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
}
