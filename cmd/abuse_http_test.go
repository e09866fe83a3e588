package cmd

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// getFrom sends a GET from a loopback address. forwarded are lines of X-Forwarded-For.
func (w *world) getFrom(t testing.TB, address, path string, forwarded ...string) reply {
	t.Helper()
	return w.doFrom(t, address, http.MethodGet, path, "", forwarded...)
}

func (w *world) doFrom(t testing.TB, address, method, path, body string, forwarded ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.base(0)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(forwarded) > 0 {
		r.Header["X-Forwarded-For"] = forwarded
	}
	client := http.Client{Timeout: waitTimeout, Transport: &http.Transport{DialContext: from(t, address).DialContext, DisableKeepAlives: true}}
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{got.StatusCode, got.Header, string(b)}
}

// wantLimited checks that a request was refused since the address has made too many.
func (r reply) wantLimited(t testing.TB, what string) {
	t.Helper()
	r.wantStatus(t, what, http.StatusTooManyRequests, replyBody(403))
	if r.header.Get("Retry-After") == "" {
		t.Errorf("%s: no Retry-After", what)
	}
}

// doors are paths of all kinds of requests.
var doors = []string{"/im/registration", "/im/pictures/" + strings.Repeat("0", 32) + "/" + strings.Repeat("1", 32), "/im/www/v1/chat.html",
	"/im/friends/found?id=1&token=2&name=x", "/im/login?account=a&password=b", "/im/nothing"}

// TestRequestsOfOneAddress: requests over limits.http are refused at every door, and those of another address are not.
// X-Forwarded-For of a client that is no trusted proxy changes nothing.
func TestRequestsOfOneAddress(t *testing.T) {
	t.Parallel()
	const rounds = 5
	w := newWorld(t, start(t, func(c *Config) { c.Limits.HTTP = Rate{rounds * len(doors), time.Hour} }))
	p := w.newMember(t, 0)
	for range rounds {
		for _, path := range doors {
			if r := w.getFrom(t, attackerAddress, path); r.status == http.StatusTooManyRequests {
				t.Fatalf("%s: refused within the limit", path)
			}
		}
	}
	for _, path := range doors {
		w.getFrom(t, attackerAddress, path).wantLimited(t, path)
		w.getFrom(t, attackerAddress, path, "192.0.2.1").wantLimited(t, path+" with X-Forwarded-For")
		if r := w.getFrom(t, "127.0.0.67", path); r.status == http.StatusTooManyRequests {
			t.Errorf("%s: another address is refused", path)
		}
	}
	w.doFrom(t, attackerAddress, http.MethodPost, "/im/register", "{}").wantLimited(t, "registration")
	d := w.dialer()
	d.NetDialContext = from(t, attackerAddress).DialContext
	login := "/im/login?" + query("account", p.account, "password", p.password)
	if c, err := w.tryDial(t.Context(), d, 0, login, nil); err != websocket.ErrBadHandshake || c.response.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a login over the limit: %v", err)
	}
	p.login(t)
}

// TestRequestsBehindAProxy: each client of a trusted proxy has its own budget, and cannot use that of another one.
func TestRequestsBehindAProxy(t *testing.T) {
	t.Parallel()
	const limit = 10
	w := newWorld(t, start(t, func(c *Config) {
		c.Limits.HTTP, c.HTTP.TrustedProxies = Rate{limit, time.Hour}, []string{"127.0.0.66"}
	}))
	w.newMember(t, 0)
	for _, client := range []string{"192.0.2.1", "2001:db8:1:2::1"} {
		for range limit {
			w.getFrom(t, "127.0.0.66", "/im/registration", client).want(t, client, `{"code":200,"message":"Success","ok":true,"registration":"open","files":{"max":26214400}}`)
		}
	}
	for _, lines := range [][]string{{"192.0.2.1"}, {"198.51.100.1, 192.0.2.1"}, {"198.51.100.1", "192.0.2.1"}, {"192.0.2.1:4711"}, {"::ffff:192.0.2.1"}, {"2001:db8:1:2::2"}} {
		w.getFrom(t, "127.0.0.66", "/im/registration", lines...).wantLimited(t, strings.Join(lines, "; "))
	}
	for _, client := range []string{"192.0.2.2", "2001:db8:1:3::1"} {
		if r := w.getFrom(t, "127.0.0.66", "/im/registration", client); r.code() != 200 {
			t.Errorf("another client of the proxy: %d %s", r.status, r.body)
		}
	}
	if r := w.getFrom(t, "127.0.0.67", "/im/registration", "192.0.2.1"); r.code() != 200 {
		t.Errorf("another address that names the client: %d %s", r.status, r.body)
	}
}
