package oidc

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"imctl/bridge/oidc/oidctest"
	"imctl/bridge/wire"
	"imctl/kv"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	if got := b.signIn(); got != "oidc=done" {
		t.Fatalf("the page is told %q: %s", got, w.log.String())
	}
	for _, u := range b.seen {
		if strings.Contains(u.String(), "ticket") || u.Path == callbackPath && u.Query().Get("code") == "" {
			t.Errorf("the browser was sent to %s", u)
		}
	}
	if got := b.session("https://other.example"); got.Code != int(wire.ProtocolError) || got.Ticket != "" {
		t.Errorf("the page of another origin got %+v", got)
	}
	if got := b.session(w.url); got.Code != 200 || got.Ticket != "ticket of alice" || got.Expires < 1 {
		t.Errorf("the page got %+v", got)
	}
	if got := b.session(w.url); got.Code != int(wire.WrongCredentials) {
		t.Errorf("the second time the page got %+v", got)
	}
	if got, want := w.users["s1"], (Claims{"s1", "alice", "Alice", "alice@example.org"}); got != want {
		t.Errorf("the claims are %+v, want %+v", got, want)
	}
	if w.failures != 0 || !slices.Equal(w.outcomes, []string{"done"}) {
		t.Errorf("%d failures and the outcomes %v were counted", w.failures, w.outcomes)
	}
	if n := w.provider.Asked("/.well-known/openid-configuration"); n > len(w.nodes) {
		t.Errorf("the nodes asked for the description %d times", n)
	}
	other := w.browser()
	if got := other.signIn(); got != "oidc=done" {
		t.Errorf("another browser: the page is told %q", got)
	}
	if n := w.provider.Asked("/keys"); n > len(w.nodes) {
		t.Errorf("the nodes asked for the keys %d times", n)
	}
	for _, secret := range []string{"secret of the client", "ticket of", b.callback(), "code="} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %q: %s", secret, w.log.String())
		}
	}
}

// A code or a callback that is used again, in the same browser or in another one, signs no user in.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	var kept []*http.Cookie
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		b.seen = append(b.seen, r.URL)
		if r.URL.Path == callbackPath {
			kept = b.Jar.Cookies(r.URL)
		}
		return nil
	}
	if got := b.signIn(); got != "oidc=done" {
		t.Fatal(got)
	}
	again := b.callback()
	if got := b.get(again); got != "oidc=expired" {
		t.Errorf("the callback again: %q", got)
	}
	if got := w.browser().get(again); got != "oidc=expired" {
		t.Errorf("the callback in another browser: %q", got)
	}
	// With the cookie, as a thief of both would.
	thief := w.browser()
	at, err := url.Parse(again)
	if err != nil {
		t.Fatal(err)
	}
	thief.Jar.SetCookies(at, kept)
	if got := thief.get(again); got != "oidc=expired" {
		t.Errorf("the callback with the cookie: %q", got)
	}
	if thief.session(w.url).Ticket != "" {
		t.Error("the thief got a ticket")
	}
	if w.failures != 3 {
		t.Errorf("%d failures were counted, want 3", w.failures)
	}
}

// A provider that exchanges a code twice does not make a second sign-in of one cookie.
func TestSpent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, s := range w.nodes {
		s.opts.Spend = func(context.Context, string, time.Duration) error { return kv.ErrSpent }
	}
	if got := w.browser().signIn(); got != "oidc=expired" {
		t.Errorf("the page is told %q", got)
	}
}

// An attacker that has a browser open the callback of the attacker's own sign-in does not sign it in (login CSRF), even
// if the browser has begun a sign-in itself.
func TestForeignState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	attacker := w.browser()
	attacker.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		attacker.seen = append(attacker.seen, r.URL)
		if r.URL.Path == callbackPath {
			return http.ErrUseLastResponse
		}
		return nil
	}
	attacker.signIn()
	victim := w.browser()
	victim.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		victim.seen = append(victim.seen, r.URL)
		if strings.HasPrefix(r.URL.String(), w.issuer) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	victim.signIn() // begun, and not completed
	if got := victim.get(attacker.callback()); got != "oidc=expired" {
		t.Errorf("the victim's page is told %q", got)
	}
	if victim.session(w.url).Ticket != "" || len(w.users) != 0 {
		t.Error("the victim is signed in")
	}
	if w.provider.Asked("/token") != 0 {
		t.Error("the code of the attacker was exchanged")
	}
}

func TestWrongTokens(t *testing.T) {
	t.Parallel()
	other := oidctest.New(oidctest.Options{})
	for name, c := range map[string]struct {
		claims func(map[string]any)
		answer func(map[string]any)
		want   string
	}{
		"nonce of another sign-in": {claims: func(c map[string]any) { c["nonce"] = "other" }},
		"no nonce":                 {claims: func(c map[string]any) { delete(c, "nonce") }},
		"audience":                 {claims: func(c map[string]any) { c["aud"] = "other" }},
		"audiences without azp":    {claims: func(c map[string]any) { c["aud"] = []string{"imctl", "other"} }},
		"azp":                      {claims: func(c map[string]any) { c["azp"] = "other" }},
		"issuer":                   {claims: func(c map[string]any) { c["iss"] = "https://other.example" }},
		"expired":                  {claims: func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }},
		"not yet valid":            {claims: func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() }},
		"no subject":               {claims: func(c map[string]any) { delete(c, "sub") }},
		"no token":                 {answer: func(a map[string]any) { delete(a, "id_token") }},
		"key":                      {answer: func(a map[string]any) { a["id_token"] = other.Sign(map[string]any{"iss": "x"}) }},
		"signature": {answer: func(a map[string]any) {
			parts := strings.Split(a["id_token"].(string), ".")
			a["id_token"] = parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))
		}},
		"alg none": {answer: func(a map[string]any) {
			a["id_token"] = "eyJhbGciOiJub25lIn0." + strings.Split(a["id_token"].(string), ".")[1] + "."
		}},
		"account of nobody":      {claims: func(c map[string]any) { c["preferred_username"] = "" }, want: "oidc=done"}, // the user info has it
		"several audiences":      {claims: func(c map[string]any) { c["aud"], c["azp"] = []string{"imctl", "other"}, "imctl" }, want: "oidc=done"},
		"a mail not verified":    {claims: func(c map[string]any) { c["email_verified"] = false }, want: "oidc=done"},
		"a name that is no text": {claims: func(c map[string]any) { c["name"] = 1 }, want: "oidc=done"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.provider.Change(func(o *oidctest.Options) { o.Claims, o.Answer = c.claims, c.answer })
			want := c.want
			if want == "" {
				want = "oidc=provider"
			}
			if got := w.browser().signIn(); got != want {
				t.Errorf("the page is told %q, want %q: %s", got, want, w.log.String())
			}
			if signed := len(w.users) > 0; signed != (want == "oidc=done") {
				t.Errorf("a user was signed in: %t", signed)
			}
			if refused := w.failures == 1; refused == (want == "oidc=done") {
				t.Errorf("%d failures were counted", w.failures)
			}
			if name == "a mail not verified" && w.users["s1"].Mail != "" {
				t.Error("the address was taken over")
			}
		})
	}
}

// The server starts without the provider, and asks again for each sign-in.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	fails := func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "secret of the client", http.StatusBadGateway)
	}
	set := func(h http.Handler) { w.mu.Lock(); w.down = h; w.mu.Unlock() }
	set(http.HandlerFunc(fails))
	if got := w.browser().signIn(); got != "oidc=provider" {
		t.Errorf("down: the page is told %q", got)
	}
	set(nil)
	if got := w.browser().signIn(); got != "oidc=done" {
		t.Errorf("up again: the page is told %q", got)
	}
	// It fails after the browser was sent there.
	set(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			fails(rw, r)
			return
		}
		w.provider.ServeHTTP(rw, r)
	}))
	if got := w.browser().signIn(); got != "oidc=provider" {
		t.Errorf("the token endpoint fails: the page is told %q", got)
	}
	set(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			_, _ = rw.Write(make([]byte, maxAnswer+1))
			return
		}
		w.provider.ServeHTTP(rw, r)
	}))
	if got := w.browser().signIn(); got != "oidc=provider" {
		t.Errorf("an endless answer: the page is told %q", got)
	}
	if w.failures != 0 {
		t.Errorf("%d failures of browsers were counted", w.failures)
	}
}

// Keys that the provider has replaced are read again.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for range 2 {
		if got := w.browser().signIn(); got != "oidc=done" {
			t.Errorf("the page is told %q: %s", got, w.log.String())
		}
		w.provider.Rotate()
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{ErrAccount, "account"}, {ErrDisabled, "disabled"}, {kv.ErrReadOnly, "busy"}, {errors.New("x"), "failed"},
	} {
		w := newWorld(t, nil)
		w.signIn = c.err
		b := w.browser()
		if got := b.signIn(); got != "oidc="+c.want {
			t.Errorf("%v: the page is told %q, want %q", c.err, got, c.want)
		}
		if !slices.Contains(Outcomes(), c.want) {
			t.Errorf("Outcomes has no %s", c.want)
		}
		if b.session(w.url).Ticket != "" {
			t.Errorf("%v: the page got a ticket", c.err)
		}
	}
	w := newWorld(t, nil)
	w.provider.Change(func(o *oidctest.Options) { o.Users = nil })
	if got := w.browser().signIn(); got != "oidc=denied" {
		t.Errorf("the provider refuses: the page is told %q", got)
	}
	w = newWorld(t, func(o *Options) { o.AccountClaim = "employee" })
	if got := w.browser().signIn(); got != "oidc=account" {
		t.Errorf("no claim: the page is told %q", got)
	}
	w = newWorld(t, func(o *Options) { o.ClientSecret = "wrong" })
	if got := w.browser().signIn(); got != "oidc=provider" {
		t.Errorf("a wrong secret: the page is told %q", got)
	}
}

// The browser begins at the configured address: the provider sends it there, and the cookie must be there.
func TestOtherHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	if got := b.get(strings.Replace(w.url, "127.0.0.1", "localhost", 1) + startPath); got != "oidc=done" {
		t.Errorf("the page is told %q, by %v", got, b.seen)
	}
	// A proxy that changes the host makes no loop.
	s := w.nodes[0]
	r := httptest.NewRequest(http.MethodGet, "http://inner"+startPath+"?again=1", nil)
	answer := httptest.NewRecorder()
	s.Handler().ServeHTTP(answer, r)
	if at := answer.Header().Get("Location"); !strings.HasPrefix(at, w.issuer+"/authorize?") {
		t.Errorf("the browser is sent to %q", at)
	}
}

// Attributes of the cookies, and the address of the page below the path of a proxy.
func TestCookies(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"http://127.0.0.1:1/chat":  "imctl-oidc=; Path=/chat/im/oidc/; Max-Age=0; HttpOnly; SameSite=Lax",
		"https://example.org/chat": "__Host-imctl-oidc=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
	} {
		s := newWorld(t, func(o *Options) { o.URL = base }).nodes[0]
		answer := httptest.NewRecorder()
		s.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, callbackPath+"?code=1&state=2&to=https://other.example", nil))
		if got := answer.Header().Get("Set-Cookie"); got != want {
			t.Errorf("%s: cookie %q, want %q", base, got, want)
		}
		if got := answer.Header().Get("Location"); got != "../www/v1/chat.html#oidc=expired" {
			t.Errorf("%s: the browser is sent to %q", base, got)
		}
		if got := answer.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", base, got)
		}
		if got := s.RedirectURL(); got != base+"/im/oidc/callback" {
			t.Errorf("%s: redirect URI %s", base, got)
		}
	}
	// A cookie is worth nothing under another name, or after its time.
	s := newWorld(t, nil).nodes[0]
	ctx := context.Background()
	for name, v := range map[string]sealed{stateCookie: {Expires: time.Now().Add(-time.Second)}, ticketCookie: {Expires: time.Now().Add(time.Minute)}} {
		answer := httptest.NewRecorder()
		if err := s.setCookie(ctx, answer, name, v); err != nil {
			t.Fatal(err)
		}
		c := answer.Result().Cookies()[0]
		c.Name = stateCookie
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(c)
		if _, err := s.openCookie(ctx, r, stateCookie); !errors.Is(err, errCookie) {
			t.Errorf("%s opens as a state: %v", name, err)
		}
	}
}

func TestCheckIssuer(t *testing.T) {
	t.Parallel()
	for issuer, ok := range map[string]bool{
		"https://id.example.org/realms/staff": true, "http://127.0.0.1:5556/dex": true, "http://[::1]:1": true, "http://localhost:5556": true,
		"http://id.example.org": false, "https://": false, "https://a@id.example.org": false, "https://id.example.org?x": false, "https://id.example.org#": false, "ftp://x": false, "": false,
	} {
		if err := CheckIssuer(issuer); (err == nil) != ok {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

// TestPrivateAuthority: the certificate of the provider is signed by an authority that the system does not know.
func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	p := oidctest.New(oidctest.Options{ClientID: "imctl"})
	server := httptest.NewTLSServer(p)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(server.Close)
	p.Change(func(o *oidctest.Options) { o.Issuer = server.URL })
	find := func(roots *x509.CertPool) error {
		s, err := New(Options{Issuer: server.URL, ClientID: "imctl", URL: "http://127.0.0.1", RootCAs: roots, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.find(t.Context())
		return err
	}
	if err := find(nil); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("without the authority: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	if err := find(roots); err != nil {
		t.Errorf("with the authority: %v", err)
	}
}
