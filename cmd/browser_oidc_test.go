package cmd

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"imctl/bridge/oidc/oidctest"
)

// TestPageOIDC signs users in at an OpenID Connect provider.
func TestPageOIDC(t *testing.T) { eachBrowser(t, "en-US", testPageOIDC) }

func testPageOIDC(t *testing.T, browser webBrowser) {
	var down atomic.Bool
	provider := oidctest.New(oidctest.Options{ClientID: "imctl", ClientSecret: "secret"})
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		provider.ServeHTTP(w, r)
	}))
	t.Cleanup(issuer.Close)
	s := start(t, func(c *Config) {
		o := &c.Auth.OIDC
		o.Issuer, o.ClientID, o.ClientSecret, o.Label = issuer.URL, "imctl", "secret", "Example"
	})
	as := func(users ...oidctest.User) {
		provider.Change(func(o *oidctest.Options) {
			o.Issuer, o.Redirect, o.Users = issuer.URL, s.app.URL()+"/im/oidc/callback", users
		})
	}
	url := s.app.URL() + pagePath
	bob := openTab(t, browser, "bob", url, phone)
	bob.until("named('button', 'Sign in with Example')") // the page has its place for it
	bob.signUp("Bob")                                    // with a password

	down.Store(true)
	ann := openTab(t, browser, "ann", url, desk)
	ann.press("Sign in with Example")
	ann.sees("The sign-in service cannot be reached")
	down.Store(false)
	as()
	ann.press("Sign in with Example")
	ann.sees("The sign-in was cancelled or refused.")
	as(oidctest.User{Subject: "s2", Account: "bob", Name: "Not Bob"})
	ann.press("Sign in with Example")
	ann.sees("There is no account for you here, or your name is taken.")
	as(oidctest.User{Subject: "s1", Account: "ann", Name: "Ann Example"}, oidctest.User{Subject: "s2", Account: "eve", Name: "Eve"})
	ann.navigate("about:blank")
	ann.navigate(url + "#add=" + strings.Repeat("a", 32)) // what the address asks for is done after the sign-in
	ann.press("Sign in with Example")
	ann.sees("Who are you?")
	ann.press("Ann Example")
	ann.until("count('nav') === 1")
	if hash := ask[string](ann, "location.hash"); strings.Contains(hash, "oidc") {
		t.Errorf("the address still has %s", hash)
	}
	if kept := ask[string](ann, "document.cookie + JSON.stringify(sessionStorage['imctl.oidc'] ?? '') + (localStorage['imctl.login']?.includes('Ann Example') ? '' : 'no login')"); kept != `""` {
		t.Errorf("the page has %s", kept)
	}

	// The token of the session is an ordinary one.
	ann.navigate("about:blank")
	ann.navigate(url)
	ann.until("count('nav') === 1")
	ann.press("Menu")
	ann.press("Sign out")
	ann.press("Sign out")
	ann.sees("Welcome back")
	as(oidctest.User{Subject: "s1", Account: "ann", Name: "Ann Example"})
	ann.until("document.querySelector('.check input')")
	ask[bool](ann, "(document.querySelector('.check input').checked = false, true)")
	ann.press("Sign in with Example")
	ann.until("count('nav') === 1")
	if kept := ask[bool](ann, "localStorage['imctl.login']?.includes('Ann Example') ?? false"); kept {
		t.Error("the browser keeps the login of a user that does not stay signed in")
	}
	u, err := s.app.backend.store.Users.ByAccount(t.Context(), "ann")
	if err != nil || u.External.Source != "oidc" || u.External.Subject != "s1" || u.External.Issuer != issuer.URL {
		t.Errorf("the user is %+v, %v", u.External, err)
	}

	// Without passwords the page has only the button.
	only := start(t, func(c *Config) {
		c.Auth.Modes = []string{}
		o := &c.Auth.OIDC
		o.Issuer, o.ClientID, o.ClientSecret, o.Label = issuer.URL, "imctl", "secret", "Example"
	})
	provider.Change(func(o *oidctest.Options) { o.Redirect = only.app.URL() + "/im/oidc/callback" })
	cleo := openTab(t, browser, "cleo", only.app.URL()+pagePath, phone)
	cleo.until("named('button', 'Sign in with Example')")
	cleo.until("!named('input, textarea', 'Password') && !named('button', 'Create account') && !named('button', 'Forgot your password?')")
	cleo.press("Sign in with Example")
	cleo.sees("No friends yet")
}
