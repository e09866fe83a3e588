package oidc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"imctl/bridge/oidc/oidctest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// world is a provider, and two nodes at one address.
type world struct {
	t        *testing.T
	provider *oidctest.Provider
	down     http.Handler // instead of the provider; nil: the provider
	issuer   string
	url      string // of the nodes
	nodes    [2]*Service
	log      bytes.Buffer
	failures int // that Failed was told of

	mu       sync.Mutex
	turn     int      // the node of the next request; -1: they alternate
	outcomes []string // that Counted was told of
	spent    map[string]bool
	users    map[string]Claims // by subject
	signIn   error
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, spent: make(map[string]bool), users: make(map[string]Claims)}
	w.provider = oidctest.New(oidctest.Options{ClientID: "imctl", ClientSecret: "secret of the client",
		Users: []oidctest.User{{Subject: "s1", Account: "alice", Name: "Alice", Mail: "alice@example.org"}}})
	issuer := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		h := w.down
		w.mu.Unlock()
		if h == nil {
			h = w.provider
		}
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(issuer.Close)
	w.issuer = issuer.URL
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(server.Close)
	w.url = server.URL
	w.provider.Change(func(o *oidctest.Options) { o.Issuer, o.Redirect = w.issuer, w.url+callbackPath })
	key := make([]byte, 32)
	rand.Read(key)
	o := Options{Issuer: w.issuer, ClientID: "imctl", ClientSecret: "secret of the client", Scopes: []string{"profile", "email"}, AccountClaim: "preferred_username", Label: "Example", URL: w.url,
		Key: func(context.Context) ([]byte, error) { return key, nil }, Spend: w.spend, SignIn: w.user,
		Ticket: func(user, address string) (wire.Ticket, error) {
			return wire.Ticket{Ticket: "ticket of " + user, Expires: 30}, nil
		},
		Address: func(*http.Request) string { return "192.0.2.1" }, Allow: func(string) error { return nil },
		Failed:  func(context.Context, string) { w.mu.Lock(); w.failures++; w.mu.Unlock() },
		Away:    func() bool { return false },
		Counted: func(outcome string) { w.mu.Lock(); w.outcomes = append(w.outcomes, outcome); w.mu.Unlock() },
		Allowed: func(r *http.Request) bool { o := r.Header.Get("Origin"); return o == "" || o == w.url },
		Log:     slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&o)
	}
	for i := range w.nodes {
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		w.nodes[i] = s
	}
	return w
}

// serve passes requests to the nodes in turn, as a proxy without affinity does.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/im/www/") {
		_, _ = io.WriteString(rw, "page")
		return
	}
	w.mu.Lock()
	w.turn++
	node := w.nodes[w.turn%len(w.nodes)]
	w.mu.Unlock()
	node.Handler().ServeHTTP(rw, r)
}

func (w *world) spend(_ context.Context, id string, _ time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spent[id] {
		return kv.ErrSpent
	}
	w.spent[id] = true
	return nil
}

func (w *world) user(_ context.Context, c Claims, _ string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users[c.Subject] = c
	return c.Account, w.signIn
}

// browser follows redirects, and notes where it has been.
type browser struct {
	*http.Client
	w    *world
	seen []*url.URL
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	b := &browser{w: w, Client: &http.Client{Jar: jar}}
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		b.seen = append(b.seen, r.URL)
		return nil
	}
	return b
}

// get follows the redirects from an address, and returns the fragment of the last one.
func (b *browser) get(address string) string {
	b.w.t.Helper()
	response, err := b.Get(address)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer response.Body.Close()
	if len(b.seen) == 0 {
		return response.Status
	}
	return b.seen[len(b.seen)-1].Fragment
}

func (b *browser) signIn() string {
	b.w.t.Helper()
	return b.get(b.w.url + startPath)
}

// callback returns the address that the provider sent the browser back to.
func (b *browser) callback() string {
	for _, u := range b.seen {
		if u.Path == callbackPath {
			return u.String()
		}
	}
	b.w.t.Fatal("the provider did not send the browser back")
	return ""
}

// session asks for the ticket as a page of this origin does.
func (b *browser) session(origin string) (answer struct {
	Code    int
	Ticket  string
	Expires int
}) {
	b.w.t.Helper()
	r, err := http.NewRequest(http.MethodPost, b.w.url+sessionPath, strings.NewReader("{}"))
	if err != nil {
		b.w.t.Fatal(err)
	}
	r.Header.Set("Origin", origin)
	response, err := b.Do(r)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		b.w.t.Fatal(err)
	}
	return answer
}
