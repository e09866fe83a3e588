// Package oidctest is a small OpenID Connect provider, for tests and for trying imctl out. It checks no passwords.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// User is a user of the provider.
type User struct {
	Subject, Account, Name, Mail string
}

// Options configure a Provider.
type Options struct {
	Issuer       string // its URL
	ClientID     string
	ClientSecret string // "": a public client
	Redirect     string // the redirect URI; "": any
	Users        []User // with one user, it is signed in without a question

	// Claims changes the claims of an ID token before it is signed; nil: they stay.
	Claims func(claims map[string]any)
	// Answer changes the answer of the token endpoint; nil: it stays.
	Answer func(answer map[string]any)
}

// Provider is an http.Handler. It keeps everything in memory.
type Provider struct {
	mux *http.ServeMux

	mu     sync.Mutex // guards the fields below
	opts   Options
	key    *ecdsa.PrivateKey
	keyID  string
	codes  map[string]grant // that may be exchanged
	tokens map[string]User  // access tokens
	asked  map[string]int   // requests, by path
}

// grant is what a code stands for.
type grant struct {
	user                       User
	redirect, nonce, challenge string
}

// New returns a provider. Its issuer may be set later, by Change.
func New(o Options) *Provider {
	p := &Provider{opts: o, codes: make(map[string]grant), tokens: make(map[string]User), asked: make(map[string]int), mux: http.NewServeMux()}
	p.Rotate()
	p.mux.HandleFunc("GET /.well-known/openid-configuration", p.describe)
	p.mux.HandleFunc("GET /authorize", p.authorize)
	p.mux.HandleFunc("POST /token", p.token)
	p.mux.HandleFunc("GET /userinfo", p.userinfo)
	p.mux.HandleFunc("GET /keys", p.keys)
	return p
}

func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.URL.Path]++
	p.mu.Unlock()
	p.mux.ServeHTTP(w, r)
}

// Asked returns how many requests a path has had.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// Change changes the options.
func (p *Provider) Change(change func(*Options)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.opts)
}

func (p *Provider) options() Options {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opts
}

// Rotate replaces the key that signs ID tokens. The old one is no longer valid.
func (p *Provider) Rotate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // impossible: the random source never fails
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.keyID = key, rand.Text()
}

func (p *Provider) describe(w http.ResponseWriter, _ *http.Request) {
	at := p.options().Issuer
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token", "jwks_uri": at + "/keys", "userinfo_endpoint": at + "/userinfo",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		"scopes_supported": []string{"openid", "profile", "email"}, "code_challenge_methods_supported": []string{"S256"},
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	key := jose.JSONWebKey{Key: p.key.Public(), KeyID: p.keyID, Algorithm: string(jose.ES256), Use: "sig"}
	p.mu.Unlock()
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
}

// choose is the page on which a person chooses a user.
var choose = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign in</title>
<style>body{font:1rem system-ui;max-width:24rem;margin:4rem auto;padding:0 1rem}button{display:block;width:100%;padding:.8rem;margin:.5rem 0;font:inherit}</style>
<h1>Who are you?</h1><p>This provider is for trying out: it asks for no password.</p>
<form>{{range $name, $values := .Query}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
{{range .Users}}<button name="user" value="{{.Account}}">{{.Name}}</button>{{end}}</form></html>`))

// authorize signs a user in, and sends the browser back with a code.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	o, q := p.options(), r.URL.Query()
	to, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || to.Host == "" || o.Redirect != "" && q.Get("redirect_uri") != o.Redirect || q.Get("client_id") != o.ClientID {
		http.Error(w, "unknown client or redirect_uri: the provider expects "+o.ClientID+" and "+o.Redirect, http.StatusBadRequest)
		return
	}
	answer := url.Values{"state": {q.Get("state")}, "iss": {o.Issuer}}
	switch {
	case q.Get("response_type") != "code" || !slices.Contains(strings.Fields(q.Get("scope")), "openid") || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "":
		answer.Set("error", "invalid_request")
	default:
		i := slices.IndexFunc(o.Users, func(u User) bool { return len(o.Users) == 1 || u.Account == q.Get("user") })
		if i < 0 && q.Get("user") == "" && len(o.Users) > 0 {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_ = choose.Execute(w, map[string]any{"Query": q, "Users": o.Users}) // an error means that the client has gone
			return
		}
		if i < 0 {
			answer.Set("error", "access_denied")
			break
		}
		code := rand.Text()
		p.mu.Lock()
		p.codes[code] = grant{o.Users[i], q.Get("redirect_uri"), q.Get("nonce"), q.Get("code_challenge")}
		p.mu.Unlock()
		answer.Set("code", code)
	}
	to.RawQuery = answer.Encode()
	http.Redirect(w, r, to.String(), http.StatusFound)
}

// token exchanges a code, once.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	o := p.options()
	id, secret, basic := r.BasicAuth()
	if basic { // both are encoded (RFC 6749, 2.3.1)
		id, secret = unescape(id), unescape(secret)
	} else {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	if id != o.ClientID || secret != o.ClientSecret {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	p.mu.Lock()
	code := r.PostFormValue("code")
	g, known := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !known || r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != g.redirect ||
		base64.RawURLEncoding.EncodeToString(challenge[:]) != g.challenge {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	now := time.Now()
	claims := map[string]any{"iss": o.Issuer, "aud": o.ClientID, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "nonce": g.nonce}
	maps.Copy(claims, g.user.claims())
	if o.Claims != nil {
		o.Claims(claims)
	}
	access := rand.Text()
	p.mu.Lock()
	p.tokens[access] = g.user
	p.mu.Unlock()
	answer := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": p.Sign(claims)}
	if o.Answer != nil {
		o.Answer(answer)
	}
	writeJSON(w, http.StatusOK, answer)
}

// unescape returns "" for malformed text.
func unescape(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return ""
	}
	return plain
}

func (u User) claims() map[string]any {
	return map[string]any{"sub": u.Subject, "preferred_username": u.Account, "name": u.Name, "email": u.Mail, "email_verified": u.Mail != ""}
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	user, known := p.tokens[token]
	p.mu.Unlock()
	if !known {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	writeJSON(w, http.StatusOK, user.claims())
}

// Sign returns a token with these claims, signed by the current key.
func (p *Provider) Sign(claims map[string]any) string {
	p.mu.Lock()
	key := jose.JSONWebKey{Key: p.key, KeyID: p.keyID}
	p.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		panic(err) // impossible: the key fits the algorithm
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err) // a test set claims that JSON cannot have
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err) // impossible: the random source never fails
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		panic(err) // impossible: there is one signature
	}
	return text
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error means that the client has gone
}
