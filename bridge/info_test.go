package bridge

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/natstest"
)

func get(t testing.TB, address string) (*http.Response, string) {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

// TestInfo: clients learn what the server can do, and its limits as they are set.
func TestInfo(t *testing.T) {
	t.Parallel()
	n := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), func(o *Options) {
		o.Version, o.ShowVersion = "v9.8.7", true
		o.Sessions.MaxFrame, o.Sessions.InFlight, o.Sessions.Ping = 4096, 1000, 40*time.Second
		o.Governor = governor.New(governor.Options{Picture: 1000}, o.Registry, o.Log)
		t.Cleanup(o.Governor.Close)
	})
	want := `{"code":200,"message":"Success","ok":true,"info":{"version":"v9.8.7","protocol":1,"features":["tickets","people"],"registration":"open","page":"v1","auth":["builtin"],` +
		`"ping":40,"silence":50,"limits":{"header":16384,"body":34768,"login":65536,"frame":4096,"payload":3992,"picture":1000,` +
		`"account":64,"password_min":1,"password_max":256,"name":64,"alias":64,"sex":32,"birthday":32,"sign":512,"mail":254,"note":512,` +
		`"people":50,"friends":2000,"requests":200,"sessions":8,"in_flight":64}}}`
	r, got := get(t, n.base+"/im/info")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if h := r.Header; h.Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("the header is %v", h)
	}
	if r, _ := get(t, n.base+"/im/info?a=%zz"); r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("an error may be kept: %v", r.Header)
	}
	n.services.Accounts.SetRegistration(im.RegistrationClosed)
	n.opts.Store.Rosters.SetLimits(10, 5, 0)
	for _, text := range []string{`"registration":"closed"`, `"friends":10,"requests":5`} {
		if _, got := get(t, n.base+"/im/info"); !strings.Contains(got, text) {
			t.Errorf("after a change, %s is not in %s", text, got)
		}
	}
	hidden := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), func(o *Options) { o.Version = "v9.8.7" })
	if _, got := get(t, hidden.base+"/im/info"); strings.Contains(got, "version") {
		t.Errorf("the version is told: %s", got)
	}
}

// TestInfoOfAllPages: the pages of all origins may read what the server can do, and its refusals, without a warning.
func TestInfoOfAllPages(t *testing.T) {
	t.Parallel()
	const listed = "https://app.example.org"
	var log natstest.Log
	n := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), func(o *Options) {
		o.Origins, o.Log = []string{listed}, slog.New(slog.NewTextHandler(&log, nil))
	})
	for _, origin := range []string{listed, "https://other.example.org", "null"} {
		for _, request := range []string{"GET /im/info", "GET /im/info?a=%zz", "OPTIONS /im/info"} {
			method, path, _ := strings.Cut(request, " ")
			r, err := http.NewRequest(method, n.base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Origin", origin)
			if method == http.MethodOptions {
				r.Header.Set("Access-Control-Request-Method", http.MethodGet)
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if got := answer.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" {
				t.Errorf("%s of %s: Access-Control-Allow-Origin: %q", request, origin, got)
			}
		}
	}
	if strings.Contains(log.String(), "origin") {
		t.Errorf("the log says %s", log.String())
	}
}

// TestFolderOfPage: the folders of the page lead to it, by addresses that hold below any path of a proxy.
func TestFolderOfPage(t *testing.T) {
	t.Parallel()
	n := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL())
	for path, want := range map[string]string{"/im/www/v1/": "chat.html", "/im/www/v1": "v1/chat.html", "/im/www/": "v1/chat.html", "/im/www": "www/v1/chat.html"} {
		r, _ := get(t, n.base+path)
		if r.StatusCode != http.StatusFound || r.Header.Get("Location") != want {
			t.Errorf("%s: %s to %q, want %q", path, r.Status, r.Header.Get("Location"), want)
		}
		to, err := r.Request.URL.Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		if r, _ := get(t, to.String()); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", to, r.Status)
		}
	}
}

// TestRetryAfter: a client that is over a limit learns when to try again, from the call for a ticket and from the
// handshake of a login.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	n := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), func(o *Options) {
		o.Governor = governor.New(governor.Options{LoginFailures: governor.Rate{Events: 1, Per: 2 * time.Hour}}, o.Registry, o.Log)
		t.Cleanup(o.Governor.Close)
	})
	login := func() (code int, wait string) {
		ws, r, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.base, "http")+"/im/login?"+
			url.Values{"account": {"a"}, "password": {"wrong"}}.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		var frame struct{ Code int }
		if err := ws.ReadJSON(&frame); err != nil {
			t.Fatal(err)
		}
		return frame.Code, r.Header.Get("Retry-After")
	}
	if code, wait := login(); code != 505 || wait != "" {
		t.Errorf("a wrong password is answered %d, Retry-After %q", code, wait)
	}
	if code, wait := login(); code != 403 || wait != "7200" {
		t.Errorf("a login over the limit is answered %d, Retry-After %q", code, wait)
	}
	r, err := http.Post(n.base+"/im/session", "application/json", strings.NewReader(`{"account":"a","password":"wrong"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var got struct{ Code int }
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil || got.Code != 403 || r.StatusCode != 429 || r.Header.Get("Retry-After") != "7200" {
		t.Errorf("a call for a ticket over the limit: %s, code %d, Retry-After %q, %v", r.Status, got.Code, r.Header.Get("Retry-After"), err)
	}
}
