package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

var silent = slog.New(slog.DiscardHandler)

// signer signs tokens.
type signer struct {
	alg    jose.SignatureAlgorithm
	key    any // private
	public crypto.PublicKey
	kid    string
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func rsaSigner() signer { return signer{jose.RS256, rsaKey(), &rsaKey().PublicKey, ""} }

func ecSigner(t *testing.T, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jose.ES256, key, &key.PublicKey, kid}
}

func edSigner(t *testing.T, kid string) signer {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jose.EdDSA, key, public, kid}
}

// token returns a token with these claims.
func (s signer) token(t *testing.T, claims any) string {
	t.Helper()
	opts := new(jose.SignerOptions).WithType("JWT")
	if s.kid != "" {
		opts = opts.WithHeader("kid", s.kid)
	}
	j, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(j).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s signer) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.public, KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"}
}

// pem returns the public key as the content of a PEM file.
func (s signer) pem(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// write writes a file and returns its name.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// keysOf returns the keys of a PEM file with the public key of s.
func keysOf(t *testing.T, s signer) *Keys {
	t.Helper()
	keys, err := ReadKeys([]string{write(t, "key.pem", s.pem(t))})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// good returns claims of ann that are valid.
func good() map[string]any {
	now := time.Now()
	return map[string]any{"iss": "https://id.example.org", "sub": "ann", "aud": "chat", "exp": now.Add(time.Hour).Unix(), "nbf": now.Unix(), "iat": now.Unix()}
}

// with returns claims with changes; nil removes a claim.
func with(claims map[string]any, changes map[string]any) map[string]any {
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// newTokens returns Tokens that are closed at the end of the test.
func newTokens(t *testing.T, o TokensOptions) *Tokens {
	t.Helper()
	o.Issuer, o.Audience, o.Leeway, o.Log = "https://id.example.org", []string{"other", "chat"}, 30*time.Second, silent
	tokens := NewTokens(o)
	t.Cleanup(tokens.Close)
	return tokens
}

// issuer is a server with a JWK Set.
type issuer struct {
	*httptest.Server
	body    atomic.Pointer[[]byte] // nil: the server fails
	fetches atomic.Int32
}

func startIssuer(t *testing.T, keys ...jose.JSONWebKey) *issuer {
	t.Helper()
	i := new(issuer)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.fetches.Add(1)
		body := i.body.Load()
		if body == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Write(*body)
	}))
	t.Cleanup(i.Close)
	if len(keys) > 0 {
		i.publish(t, keys...)
	}
	return i
}

func (i *issuer) publish(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	i.body.Store(&body)
}

// startRedirect starts a server that redirects to url.
func startRedirect(t *testing.T, url string) string {
	t.Helper()
	s := httptest.NewServer(http.RedirectHandler(url, http.StatusFound))
	t.Cleanup(s.Close)
	return s.URL
}
