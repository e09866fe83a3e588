package identity

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"imctl/kv"
)

// check checks a token as the password of ann.
func check(t *testing.T, tokens *Tokens, token string) (Person, error) {
	t.Helper()
	return tokens.Check(t.Context(), Credentials{Account: "Ann", Password: token})
}

func TestTokenClaims(t *testing.T) {
	t.Parallel()
	s := rsaSigner()
	tokens := newTokens(t, TokensOptions{Keys: keysOf(t, s)})
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, c := range map[string]struct {
		changes map[string]any
		want    error
	}{
		"valid":                        {nil, nil},
		"one of several audiences":     {map[string]any{"aud": []string{"x", "chat"}}, nil},
		"expired within the leeway":    {map[string]any{"exp": in(-10 * time.Second)}, nil},
		"valid soon, within leeway":    {map[string]any{"nbf": in(10 * time.Second)}, nil},
		"expired":                      {map[string]any{"exp": in(-time.Minute)}, ErrRefused},
		"without exp":                  {map[string]any{"exp": nil}, ErrRefused},
		"exp is no number":             {map[string]any{"exp": "tomorrow"}, ErrRefused},
		"not valid yet":                {map[string]any{"nbf": in(time.Minute)}, ErrRefused},
		"issued in the future":         {map[string]any{"iat": in(time.Minute)}, ErrRefused},
		"another audience":             {map[string]any{"aud": "mail"}, ErrRefused},
		"without audience":             {map[string]any{"aud": nil}, ErrRefused},
		"another issuer":               {map[string]any{"iss": "https://evil.example.org"}, ErrUnknown},
		"without issuer":               {map[string]any{"iss": nil}, ErrUnknown},
		"another account":              {map[string]any{"sub": "bob"}, ErrRefused},
		"without account":              {map[string]any{"sub": nil}, ErrRefused},
		"the account is in other case": {map[string]any{"sub": "ANN"}, nil},
		"the account is no text":       {map[string]any{"sub": []string{"ann"}}, ErrRefused},
	} {
		if _, err := check(t, tokens, s.token(t, with(good(), c.changes))); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestTokenProfile(t *testing.T) {
	t.Parallel()
	s := edSigner(t, "")
	tokens := newTokens(t, TokensOptions{Keys: keysOf(t, s), AccountClaim: "preferred_username"})
	claims := with(good(), map[string]any{"sub": "0001", "preferred_username": "ann", "name": "Ann B.", "email": "ann@example.org", "email_verified": false, "picture": "data:x"})
	p, err := check(t, tokens, s.token(t, claims))
	want := Person{Source: JWT, Issuer: "https://id.example.org", Subject: "0001", Account: "ann", Name: "Ann B.", Mail: "ann@example.org", MailUnverified: true, Picture: "data:x"}
	if err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	// A claim in another case is another claim: a user may choose it.
	if _, err := check(t, tokens, s.token(t, with(maps.Clone(claims), map[string]any{"preferred_username": "bob", "Preferred_Username": "ann"}))); !errors.Is(err, ErrRefused) {
		t.Errorf("a claim in another case: %v", err)
	}
}

// A mail address as the account proves nothing if the issuer has not verified it: the person may have named any.
func TestTokenMailAccount(t *testing.T) {
	t.Parallel()
	s := edSigner(t, "")
	tokens := newTokens(t, TokensOptions{Keys: keysOf(t, s), AccountClaim: "email"})
	for _, c := range []struct {
		verified any
		want     error
	}{{true, nil}, {"true", nil}, {nil, nil}, {false, ErrRefused}, {"false", ErrRefused}, {0, ErrRefused}} {
		p, err := check(t, tokens, s.token(t, with(good(), map[string]any{"sub": "0001", "email": "ann", "email_verified": c.verified})))
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || p.MailUnverified) {
			t.Errorf("email_verified %v: %+v, %v", c.verified, p, err)
		}
	}
}

// TestTokenAlgorithms checks that the keys decide which algorithms a token may have.
func TestTokenAlgorithms(t *testing.T) {
	t.Parallel()
	s, other := rsaSigner(), ecSigner(t, "")
	tokens := newTokens(t, TokensOptions{Keys: keysOf(t, s)})
	public := s.pem(t)
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	valid := s.token(t, good())
	parts := strings.Split(valid, ".")
	bob := strings.Split(s.token(t, with(good(), map[string]any{"sub": "bob"})), ".")
	secret := signer{jose.HS256, []byte("0123456789abcdef0123456789abcdef"), nil, ""}
	for name, token := range map[string]string{
		"none":                           unsigned + "." + parts[1] + ".",
		"none with a signature":          unsigned + "." + parts[1] + "." + parts[2],
		"HMAC with the public key":       signer{jose.HS256, public, nil, ""}.token(t, good()),
		"HMAC with the DER of the key":   signer{jose.HS512, append(make([]byte, 64), public...), nil, ""}.token(t, good()),
		"another key":                    other.token(t, good()),
		"the signature of another token": parts[0] + "." + parts[1] + "." + bob[2],
		"without a signature":            parts[0] + "." + parts[1] + ".",
	} {
		if _, err := check(t, tokens, token); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"a password": "correct horse", "dots": "a.b.c", "a long text": strings.Repeat("a", maxToken) + ".b.c", "nothing": ""} {
		if _, err := check(t, tokens, text); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys, err := ReadSecret(write(t, "secret", append(secret.key.([]byte), '\n')))
	if err != nil {
		t.Fatal(err)
	}
	tokens.SetKeys(keys)
	if _, err := check(t, tokens, secret.token(t, good())); err != nil {
		t.Errorf("HMAC with the secret: %v", err)
	}
	if _, err := check(t, tokens, valid); !errors.Is(err, ErrRefused) {
		t.Errorf("RSA beside a secret: %v", err)
	}
}

// A claim or a key that occurs twice could mean one thing to the issuer and another one here.
func TestTokenTwice(t *testing.T) {
	t.Parallel()
	s := rsaSigner()
	tokens := newTokens(t, TokensOptions{Keys: keysOf(t, s)})
	j, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := j.Sign([]byte(`{"iss":"https://id.example.org","aud":"chat","exp":9999999999,"sub":"bob","sub":"ann"}`))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := check(t, tokens, token); err == nil {
		t.Error("a token whose account occurs twice is accepted")
	}
}

func TestTokenKeySet(t *testing.T) {
	t.Parallel()
	first, second := ecSigner(t, "1"), edSigner(t, "2")
	i := startIssuer(t, first.jwk(), jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "secret"})
	tokens := newTokens(t, TokensOptions{KeySet: i.URL})
	tokens.set.pause = 0
	want := func(what string, s signer, want error) {
		t.Helper()
		if _, err := check(t, tokens, s.token(t, good())); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	want("the first key", first, nil)
	want("a key that is not published", second, ErrRefused)
	fetches := i.fetches.Load()
	want("the first key again", first, nil)
	forged := second
	forged.kid = "1"
	want("another key with the id of the first", forged, ErrRefused)
	if n := i.fetches.Load() - fetches; n != 0 {
		t.Errorf("known keys were fetched %d times", n)
	}
	want("HMAC with a key of the set", signer{jose.HS256, []byte("0123456789abcdef0123456789abcdef"), nil, "secret"}, ErrRefused)

	i.publish(t, first.jwk(), second.jwk())
	want("a new key", second, nil)

	third := ecSigner(t, "3")
	i.body.Store(nil)
	want("an unknown key while the issuer is down", third, kv.ErrBusy)
	want("a known key while the issuer is down", first, nil)
	tokens.set.mu.Lock()
	tokens.set.loaded = time.Now().Add(-2 * keySetAge)
	tokens.set.mu.Unlock()
	want("an old key while the issuer is down", first, nil)

	i.publish(t, second.jwk(), third.jwk())
	want("a key when the issuer is back", third, nil)
	want("a withdrawn key", first, ErrRefused)

	fetches = i.fetches.Load()
	tokens.set.mu.Lock()
	tokens.set.pause = time.Hour
	tokens.set.mu.Unlock()
	for range 20 {
		want("an unknown key", ecSigner(t, "4"), ErrRefused)
	}
	if n := i.fetches.Load() - fetches; n > 0 {
		t.Errorf("unknown keys were fetched %d times", n)
	}
}

// An issuer that is down when the server starts is no reason to refuse tokens as wrong.
func TestTokenIssuerDownAtStart(t *testing.T) {
	t.Parallel()
	s := ecSigner(t, "1")
	i := startIssuer(t)
	tokens := newTokens(t, TokensOptions{KeySet: i.URL})
	if _, err := check(t, tokens, s.token(t, good())); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("without keys: %v", err)
	}
	if _, err := check(t, tokens, "correct horse"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a password: %v", err)
	}
	if problem := tokens.Problem(t.Context()); !strings.HasPrefix(problem, "the keys of auth.jwt.jwks cannot be loaded: "+i.URL) {
		t.Errorf("problem: %q", problem)
	}
	tokens.set.mu.Lock()
	tokens.set.pause = 0
	tokens.set.mu.Unlock()
	i.publish(t, s.jwk())
	if problem := tokens.Problem(t.Context()); problem != "" {
		t.Errorf("problem with keys: %q", problem)
	}
	if _, err := check(t, tokens, s.token(t, good())); err != nil {
		t.Errorf("with keys: %v", err)
	}
	if problem := newTokens(t, TokensOptions{Keys: keysOf(t, s)}).Problem(t.Context()); problem != "" {
		t.Errorf("problem without a JWK Set: %q", problem)
	}
}

// TestTokenPrivateAuthority: the certificate of the issuer is signed by an authority that the system does not know.
func TestTokenPrivateAuthority(t *testing.T) {
	t.Parallel()
	s := ecSigner(t, "1")
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.jwk()}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(server.Close)
	if _, err := check(t, newTokens(t, TokensOptions{KeySet: server.URL}), s.token(t, good())); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("without the authority: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	if _, err := check(t, newTokens(t, TokensOptions{KeySet: server.URL, RootCAs: roots}), s.token(t, good())); err != nil {
		t.Errorf("with the authority: %v", err)
	}
}

func TestKeySetAnswers(t *testing.T) {
	t.Parallel()
	s := ecSigner(t, "1")
	elsewhere := startIssuer(t, s.jwk())
	for name, body := range map[string]string{
		"no JSON":       "<html>",
		"no set":        "{}",
		"no usable key": `{"keys":[{"kty":"OKP","crv":"X25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`,
		"too large":     `{"keys":[],"x":"` + strings.Repeat("x", maxKeyFile) + `"}`,
	} {
		i := startIssuer(t)
		content := []byte(body)
		i.body.Store(&content)
		tokens := newTokens(t, TokensOptions{KeySet: i.URL})
		if _, err := check(t, tokens, s.token(t, good())); !errors.Is(err, kv.ErrBusy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	redirecting := startRedirect(t, elsewhere.URL)
	tokens := newTokens(t, TokensOptions{KeySet: redirecting})
	if _, err := check(t, tokens, s.token(t, good())); !errors.Is(err, kv.ErrBusy) || elsewhere.fetches.Load() > 0 {
		t.Errorf("a redirect: %v", err)
	}
	for url, ok := range map[string]bool{"https://id.example.org/keys": true, "http://127.0.0.1:1/keys": true, "http://localhost/keys": true, "http://[::1]/k": true,
		"http://id.example.org/keys": false, "http://127.0.0.1.example.org/": false, "file:///etc/passwd": false, "https://a:b@id.example.org": false, "keys": false} {
		if err := CheckKeySetURL(url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	s, e := ecSigner(t, "1"), edSigner(t, "2")
	jwk, err := s.jwk().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	other, err := e.jwk().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	private, err := jose.JSONWebKey{Key: s.key}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	small := `{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(append([]byte{0x80}, make([]byte, 127)...)) + `","e":"AQAB"}`
	for name, c := range map[string]struct {
		content string
		keys    int
		problem string
	}{
		"PEM":              {string(s.pem(t)) + string(e.pem(t)), 2, ""},
		"JWK":              {string(jwk), 1, ""},
		"JWK Set":          {`{"keys":[` + string(jwk) + "," + string(other) + "]}", 2, ""},
		"empty":            {"", 0, "no public key"},
		"text":             {"hello", 0, "no public key"},
		"secret JWK":       {`{"kty":"oct","k":"c2VjcmV0"}`, 0, "auth.jwt.secret"},
		"private JWK":      {string(private), 0, "not a public key"},
		"private PEM":      {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0, "private key"},
		"damaged PEM":      {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 0, "cannot be parsed"},
		"small RSA":        {small, 0, "1024 bits"},
		"for encryption":   {strings.Replace(string(jwk), `"sig"`, `"enc"`, 1), 0, "not for signatures"},
		"larger than 1MiB": {strings.Repeat(" ", maxKeyFile+1), 0, "too large"},
	} {
		keys, err := ReadKeys([]string{write(t, "keys", []byte(c.content))})
		if c.problem == "" && (err != nil || len(keys.public) != c.keys) || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadKeys([]string{"/does/not/exist"}); err == nil || !strings.Contains(err.Error(), "/does/not/exist: ") {
		t.Errorf("a missing file: %v", err)
	}
	for content, problem := range map[string]string{"short": "at least 32", string(s.pem(t)): "auth.jwt.keys"} {
		if _, err := ReadSecret(write(t, "secret", []byte(content))); err == nil || !strings.Contains(err.Error(), problem) || strings.Contains(err.Error(), "short") {
			t.Errorf("a secret: %v", err)
		}
	}
}
