package origin

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"https://www.example.org": true, "http://127.0.0.1:8080": true, "https://[2001:db8::1]:8443": true, "HTTPS://WWW.example.org": true,
		"https://*.example.org": true, "https://*.example.org:8443": true, "http://localhost": true,
		"capacitor://localhost": true, "ionic://localhost": true, "tauri://localhost": true, "chrome-extension://abcdefgh": true,
		"": false, "*": false, "null": false, "https://": false, "www.example.org": false, "https://www.example.org/": false,
		"https://www.example.org/page": false, "https://ann@www.example.org": false, "https://www.example.org:port": false,
		"https://*": false, "https://*.org": false, "https://www.*.example.org": false, "https://w*.example.org": false, "https://*.*.example.org": false,
		"https://*.127.0.0.1": false, "https://a.example.org,https://b.example.org": false, "https://www.example.org?x": false,
		"wss://www.example.org": false, "file://": false, "file://host": false, "data:text/html": false,
	} {
		if err := Check(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// request returns a request as its server sees it.
func request(host, origin string, more ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/im/registration", nil)
	r.Host, r.RemoteAddr = host, "192.0.2.1:4711"
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	for _, f := range more {
		f(r)
	}
	return r
}

func encrypted(r *http.Request) { r.TLS = new(tls.ConnectionState) }
func fromProxy(r *http.Request) { r.RemoteAddr = "10.0.0.1:4711" }
func fromUnix(r *http.Request)  { r.RemoteAddr = "@" }
func header(key, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(key, value) }
}

// list returns its arguments as a slice, which reads better in a table.
func list(all ...func(*http.Request)) []func(*http.Request) { return all }

func newChecker(origins ...string) (*Checker, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return New(Options{Origins: origins, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Log: slog.New(slog.NewTextHandler(log, nil))}), log
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	c, _ := newChecker("https://app.example.org", "https://*.apps.example.org", "http://plain.example.org:8080", "capacitor://localhost", "tauri://localhost", "ionic://localhost")
	for _, test := range []struct {
		name, host, origin string
		more               []func(*http.Request)
		want               bool
	}{
		{"no browser", "im.example.org", "", nil, true},
		{"own", "im.example.org:8080", "http://im.example.org:8080", nil, true},
		{"own with TLS", "im.example.org", "https://im.example.org", list(encrypted), true},
		{"default port in Host", "im.example.org:443", "https://im.example.org", list(encrypted), true},
		{"default port in Host, the TLS removed", "im.example.org:443", "https://im.example.org", nil, true},
		{"default port in Origin", "im.example.org", "https://im.example.org:443", list(encrypted), true},
		{"default port of http", "im.example.org:80", "http://im.example.org", nil, true},
		{"case", "IM.example.org", "https://im.EXAMPLE.org", list(encrypted), true},
		{"trailing dot", "im.example.org.", "https://im.example.org", list(encrypted), true},
		{"trailing dot and port", "im.example.org.:443", "https://im.example.org.", list(encrypted), true},
		{"IPv6", "[2001:db8::1]:8443", "https://[2001:DB8:0::1]:8443", list(encrypted), true},
		{"IPv6 without a port", "[::1]", "http://[::1]", nil, true},
		{"plain page of a server with TLS", "im.example.org", "http://im.example.org", list(encrypted), false},
		{"port of the other scheme", "im.example.org:443", "http://im.example.org", nil, false},
		{"another port", "im.example.org:8443", "https://im.example.org", list(encrypted), false},
		{"another host", "im.example.org", "https://evil.example.org", nil, false},
		{"host in the path", "im.example.org", "https://evil.example.org/im.example.org", nil, false},
		{"user", "im.example.org", "https://im.example.org@evil.example.org", nil, false},
		{"another scheme on the host", "im.example.org", "capacitor://im.example.org", nil, false},
		{"null", "im.example.org", "null", nil, false},
		{"null as the host", "null", "null", nil, false},

		{"proxy without the port", "im.example.org", "https://im.example.org:8443", list(fromProxy), true},
		{"Unix socket without the port", "im.example.org", "https://im.example.org:8443", list(fromUnix), true},
		{"unknown proxy without the port", "im.example.org", "https://im.example.org:8443", nil, false},
		{"proxy with another port", "im.example.org:8443", "https://im.example.org:9443", list(fromProxy), false},
		{"proxy that ends TLS", "im.example.org", "https://im.example.org", list(fromProxy, header("X-Forwarded-Proto", "https")), true},
		{"plain page of a proxy that ends TLS", "im.example.org", "http://im.example.org", list(fromProxy, header("X-Forwarded-Proto", "https")), false},
		{"plain page of a proxy that ends TLS, Forwarded", "im.example.org", "http://im.example.org", list(fromProxy, header("Forwarded", "proto=https")), false},
		{"proxy with another Host", "inner:8080", "https://im.example.org", list(fromProxy, header("X-Forwarded-Host", "im.example.org")), true},
		{"proxy with another Host, Forwarded", "inner:8080", "https://im.example.org:8443", list(fromProxy, header("Forwarded", `host="im.example.org:8443";proto=https`)), true},
		{"client that pretends to be a proxy", "inner:8080", "https://evil.example.org", list(header("X-Forwarded-Host", "evil.example.org")), false},

		{"listed", "im.example.org", "https://app.example.org", nil, true},
		{"listed, default port", "im.example.org", "https://app.example.org:443", nil, true},
		{"listed, other scheme", "im.example.org", "http://app.example.org", nil, false},
		{"listed, other port", "im.example.org", "https://app.example.org:444", nil, false},
		{"listed port", "im.example.org", "http://plain.example.org:8080", nil, true},
		{"listed, longer", "im.example.org", "https://app.example.org.evil.example", nil, false},
		{"wildcard", "im.example.org", "https://one.apps.example.org", nil, true},
		{"wildcard, no label", "im.example.org", "https://apps.example.org", nil, false},
		{"wildcard, empty label", "im.example.org", "https://.apps.example.org", nil, false},
		{"wildcard, two labels", "im.example.org", "https://a.b.apps.example.org", nil, false},
		{"wildcard, part of a label", "im.example.org", "https://evilapps.example.org", nil, false},
		{"app", "im.example.org", "capacitor://localhost", nil, true},
		{"app of Tauri", "im.example.org", "tauri://localhost", nil, true},
		{"app of Ionic", "im.example.org", "ionic://localhost", nil, true},
		{"app, other host", "im.example.org", "capacitor://evil", nil, false},
		{"app that is not listed", "im.example.org", "app://localhost", nil, false},
	} {
		if got := c.Allowed(request(test.host, test.origin, test.more...)); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	c.Set(nil)
	if c.Allowed(request("im.example.org", "https://app.example.org")) {
		t.Error("an origin is allowed after its removal")
	}
}

// TestWarnings: each refused origin, and each peer that is no trusted proxy, is logged once, with the setting.
func TestWarnings(t *testing.T) {
	t.Parallel()
	c, log := newChecker()
	for range 3 {
		c.Allowed(request("im.example.org", "https://evil.example.org"))
		c.Allowed(request("im.example.org", "https://im.example.org:8443"))
		c.Allowed(request("im.example.org", "https://evil.example.org/?password=hunter2"))
		c.Allowed(request("im.example.org", "null"))
		c.Note(request("im.example.org", "", header("X-Forwarded-For", "198.51.100.1")))
		c.Note(request("im.example.org", "", header("Forwarded", "for=198.51.100.1")))
		c.Note(request("im.example.org", "", header("X-Forwarded-For", "198.51.100.1"), fromProxy))
		c.Note(request("im.example.org", "", header("X-Forwarded-For", "198.51.100.1"), fromUnix))
		c.Note(request("im.example.org", ""))
		c.Note(request("im.example.org", "", fromProxy))
		c.Note(request("im.example.org", "", fromUnix))
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines:\n%s", len(lines), log)
	}
	for i, want := range [][]string{{"http.origins", "origin=https://evil.example.org"}, {"http.origins", "http.trusted_proxies", "origin=https://im.example.org:8443", "$http_host"},
		{"http.origins", "origin=null"}, {"http.trusted_proxies", "X-Forwarded-For", "peer=192.0.2.1"}, {"Unix socket", "X-Forwarded-For"}} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %d lacks %q: %s", i+1, part, lines[i])
			}
		}
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("a secret: %s", log)
	}
	log.Reset()
	for i := range 1000 {
		c.Allowed(request("im.example.org", "https://evil"+strconv.Itoa(i)+".example.org"))
	}
	if n := strings.Count(log.String(), "\n"); n > onceMost {
		t.Errorf("%d lines for 1000 origins", n)
	}
}

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Once
		for i := range onceMost {
			if !o.First(strconv.Itoa(i)) {
				t.Fatalf("value %d does not pass", i)
			}
		}
		time.Sleep(onceAgain - 1)
		if o.First("0") || o.First("another") {
			t.Error("a value passes")
		}
		time.Sleep(time.Nanosecond)
		if o.First("0") {
			t.Error("a value passes that is remembered")
		}
		if !o.First("another") || o.First("another") || !o.First("0") {
			t.Error("values do not pass once after an hour")
		}
	})
}

func TestCalls(t *testing.T) {
	t.Parallel()
	c, _ := newChecker("https://app.example.org", "capacitor://localhost")
	served := 0
	h := c.Calls(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	do := func(r *http.Request) http.Header {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Header()
	}
	preflight := func(r *http.Request) {
		r.Method = http.MethodOptions
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
	}
	for _, origin := range []string{"https://app.example.org", "capacitor://localhost"} {
		got := do(request("im.example.org", origin))
		if got.Get("Access-Control-Allow-Origin") != origin || got.Get("Vary") != "Origin" || got.Get("Access-Control-Allow-Credentials") != "" ||
			!strings.Contains(got.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s: %v", origin, got)
		}
		got = do(request("im.example.org", origin, preflight))
		if got.Get("Access-Control-Allow-Origin") != origin || got.Get("Access-Control-Allow-Methods") != "POST" ||
			got.Get("Access-Control-Allow-Headers") != "authorization,content-type" || got.Get("Access-Control-Max-Age") != "7200" {
			t.Errorf("preflight of %s: %v", origin, got)
		}
	}
	if served != 2 {
		t.Errorf("%d calls served", served)
	}
	c.Set(nil)
	if got := do(request("im.example.org", "")); served != 3 || len(got) != 0 {
		t.Errorf("without listed origins: %d calls served, the last one with %v", served, got)
	}
	c.Set([]string{"https://app.example.org"})
	for _, origin := range []string{"https://evil.example.org", "null", "https://im.example.org"} {
		for _, more := range [][]func(*http.Request){nil, list(preflight)} {
			if got := do(request("im.example.org", origin, more...)); got.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %v", origin, got)
			}
		}
	}
}
