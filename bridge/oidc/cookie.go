package oidc

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Cookies of a sign-in. The name is also what the seal is for: a cookie is worth nothing under another name.
const (
	stateCookie  = "imctl-oidc"
	ticketCookie = "imctl-oidc-ticket"
)

// errCookie: a cookie is missing, was not sealed by a node, or has expired.
var errCookie = errors.New("no valid cookie of the sign-in")

// sealed is what a cookie holds.
type sealed struct {
	Expires time.Time `json:"expires"`
	// Of a sign-in that has begun.
	State    string `json:"state,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
	Verifier string `json:"verifier,omitempty"`
	// Of a sign-in that has succeeded.
	Ticket string `json:"ticket,omitempty"`
}

func (s *Service) aead(ctx context.Context) (cipher.AEAD, error) {
	key, err := s.opts.Key(ctx)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// cookie returns a cookie without a value. With TLS no other host can set a cookie of this name: otherwise a page of a
// neighbouring host could have a browser complete the sign-in of another user.
func (s *Service) cookie(name string, mode http.SameSite) *http.Cookie {
	c := &http.Cookie{Name: name, Path: s.base.Path + Path, HttpOnly: true, SameSite: mode}
	if s.base.Scheme == "https" {
		c.Name, c.Path, c.Secure = "__Host-"+name, "/", true
	}
	return c
}

// modes of the cookies: the provider sends the browser back from another site, and the page is of this one.
var modes = map[string]http.SameSite{stateCookie: http.SameSiteLaxMode, ticketCookie: http.SameSiteStrictMode}

// setCookie seals v into a cookie that lives until v.Expires.
func (s *Service) setCookie(ctx context.Context, w http.ResponseWriter, name string, v sealed) error {
	aead, err := s.aead(ctx)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c := s.cookie(name, modes[name])
	c.Value = base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, plain, []byte(name)))
	c.MaxAge = int(time.Until(v.Expires).Seconds()) + 1
	http.SetCookie(w, c)
	return nil
}

// openCookie returns what a cookie of a request holds. Errors: errCookie.
func (s *Service) openCookie(ctx context.Context, r *http.Request, name string) (v sealed, err error) {
	c, err := r.Cookie(s.cookie(name, modes[name]).Name)
	if err != nil {
		return v, errCookie
	}
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return v, errCookie
	}
	aead, err := s.aead(ctx)
	if err != nil {
		return v, err
	}
	plain, err := aead.Open(nil, nil, text, []byte(name))
	if err != nil || json.Unmarshal(plain, &v) != nil || !time.Now().Before(v.Expires) {
		return sealed{}, errCookie
	}
	return v, nil
}

// dropCookie makes the browser forget a cookie.
func (s *Service) dropCookie(w http.ResponseWriter, name string) {
	c := s.cookie(name, modes[name])
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// random returns 256 random bits as text.
func random() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
