package cmd

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// TestForeignPage: a page of an origin in http.origins makes calls and opens a tunnel, and any other page does not.
func TestForeignPage(t *testing.T) { eachBrowser(t, "en-US", testForeignPage) }

func testForeignPage(t *testing.T, browser webBrowser) {
	newSite := func() *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<!doctype html><link rel=icon href='data:,'><title>another site</title><p>another site")
		}))
		t.Cleanup(s.Close)
		return s
	}
	listed, other := newSite(), newSite()
	s := start(t, func(c *Config) { c.HTTP.Origins, c.Limits.Calls = []string{listed.URL}, Rate{2, 3600e9} })
	w := newWorld(t, s)
	ann := w.newMember(t, 0)
	ann.login(t)
	// The request has headers that need a preflight, and the answer has a header that pages cannot read by default.
	calls := `(async () => {
		const server = ` + quote(s.app.URL()) + `, said = [];
		const call = (path, init) => fetch(server + path, init).then(async (r) => said.push((await r.json()).code, r.status === 429 && r.headers.get('Retry-After') > 0), () => said.push('refused'));
		const json = {'Content-Type': 'application/json'};
		await call('/im/registration');
		const fields = JSON.stringify({id: ` + quote(ann.id) + `, token: ` + quote(ann.token) + `, sign: 'from elsewhere'});
		for (let i = 0; i < 3; i++) await call('/im/profile/update', {method: 'POST', headers: json, body: fields});
		await call('/im/files/x?id=` + ann.id + `', {headers: {Authorization: 'Bearer x', Range: 'bytes=0-9'}});
		await new Promise((end) => {
			const tunnel = new WebSocket(server.replace('http', 'ws') + '/im/login?' + new URLSearchParams({id: ` + quote(ann.id) + `, token: ` + quote(ann.token) + `}));
			tunnel.onmessage = ({data}) => { said.push(JSON.parse(data).code); tunnel.close(); end(); };
			tunnel.onerror = () => { said.push('no tunnel'); end(); };
		});
		return said.join(' ');
	})()`
	b := openTab(t, browser, "listed", listed.URL, desk)
	if got, want := ask[string](b, calls), "200 false 200 false 200 false 403 true 515 false 200"; got != want {
		t.Errorf("a listed page sees %s, want %s", got, want)
	}
	b = openTab(t, browser, "other", other.URL, desk)
	if got, want := ask[string](b, calls), "refused refused refused refused refused no tunnel"; got != want {
		t.Errorf("another page sees %s, want %s", got, want)
	}
	b.mu.Lock()
	b.said = nil // the browser says why it refuses
	b.mu.Unlock()
	if log := s.log.String(); strings.Count(log, "http.origins") != 1 || !strings.Contains(log, "origin="+other.URL) {
		t.Errorf("the log does not name the refused page once: %s", log)
	}
}

// TestPageBelowPath: behind a proxy that serves the page below a path, everything that the page does stays below it.
func TestPageBelowPath(t *testing.T) { inChromium(t, testPageBelowPath) }

func testPageBelowPath(t *testing.T, browser webBrowser) {
	s := start(t, func(c *Config) { c.HTTP.TrustedProxies = []string{"127.0.0.1"} })
	target, err := url.Parse(s.app.URL())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/chat/", http.StripPrefix("/chat", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}))
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/favicon.ico" {
			t.Errorf("the page leaves its path: %s", r.URL.Path)
		}
	})
	proxy := httptest.NewServer(mux)
	t.Cleanup(proxy.Close)
	ann := openTab(t, browser, "ann", proxy.URL+"/chat/", desk)
	bob := openTab(t, browser, "bob", proxy.URL+"/chat/", desk)
	ann.signUp("Ann")
	bob.signUp("Bob")
	if got := ask[string](ann, "location.pathname"); got != "/chat"+pagePath {
		t.Errorf("the page is at %s", got)
	}
	befriend(ann, "Bob", bob, "Annie")
	ann.open("Bob")
	ann.say("Below a path")
	bob.until(row("Annie"))
	bob.open("Annie")
	bob.hears("Below a path")
	ann.chooses(pngOf(t, "map.png", 40, 30))
	ann.ready(1)
	ann.press("Send")
	bob.until("[...document.querySelectorAll('.theirs .media img')].some((e) => e.naturalWidth === 40)")
	ann.workerReady()
	if got, want := ask[string](ann, "navigator.serviceWorker.ready.then(({scope}) => scope)"), proxy.URL+"/chat/im/www/v1/"; got != want {
		t.Errorf("the scope of the worker is %s, want %s", got, want)
	}
	ann.reload()
	ann.until(row("Bob"))
}
