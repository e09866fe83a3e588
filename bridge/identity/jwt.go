package identity

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // distinguishes case, and refuses a claim that occurs twice
	"github.com/go-jose/go-jose/v4/jwt"

	"imctl/kv"
)

// maxToken is the longest token, in bytes. A longer one does not fit into the URL of a login.
const maxToken = 16 << 10

// TokensOptions configure Tokens.
type TokensOptions struct {
	Keys         *Keys          // of files; nil: none
	KeySet       string         // URL of a JWK Set; "": none
	Issuer       string         // "": not checked
	Audience     []string       // a token needs one of them; none: not checked
	AccountClaim string         // has the account; "": "sub"
	Leeway       time.Duration  // by which clocks may differ
	RootCAs      *x509.CertPool // verify the server of KeySet; nil: those of the system
	Log          *slog.Logger
}

// Tokens is the mode JWT: a JSON Web Token stands in the place of the password.
type Tokens struct {
	o    TokensOptions
	keys atomic.Pointer[Keys]
	set  *keySet // nil: none
}

// NewTokens returns Tokens, and begins to load the JWK Set. Close ends it.
func NewTokens(o TokensOptions) *Tokens {
	t := &Tokens{o: o}
	t.SetKeys(o.Keys)
	if o.KeySet != "" {
		t.set = newKeySet(o.KeySet, o.RootCAs, o.Log)
		t.set.mu.Lock()
		t.set.begin()
		t.set.mu.Unlock()
	}
	return t
}

// Close ends the loading of keys.
func (t *Tokens) Close() {
	if t.set != nil {
		t.set.close()
	}
}

// SetKeys replaces the keys of files.
func (t *Tokens) SetKeys(k *Keys) {
	if k == nil {
		k = new(Keys)
	}
	t.keys.Store(k)
}

// Name returns JWT.
func (t *Tokens) Name() string { return JWT }

// Problem returns why the keys of the JWK Set cannot be loaded, "" if they can. It loads them again if they could not be
// loaded before.
func (t *Tokens) Problem(ctx context.Context) string {
	if t.set == nil {
		return ""
	}
	return t.set.problem(ctx)
}

// Lookup returns ErrUnknown: only a token tells of an account.
func (t *Tokens) Lookup(context.Context, string) (Person, error) { return Person{}, ErrUnknown }

// claims are those of a token that has been verified.
type claims struct {
	jwt.Claims
	Name     string `json:"name"`
	Mail     string `json:"email"`
	Verified any    `json:"email_verified"`
	Picture  string `json:"picture"`
}

// Check verifies a token. A password that is no token, and a token of another issuer, is unknown. A token is verified
// each time: none is remembered.
func (t *Tokens) Check(ctx context.Context, c Credentials) (Person, error) {
	header, issuer, ok := inspect(c.Password)
	if !ok || t.o.Issuer != "" && issuer != t.o.Issuer {
		return Person{}, ErrUnknown
	}
	payload, err := t.verify(ctx, c.Password, header)
	if err != nil {
		return Person{}, err
	}
	var all claims
	account := ""
	if json.Unmarshal(payload, &all) == nil {
		account = t.account(payload)
	}
	expected := jwt.Expected{Issuer: t.o.Issuer, AnyAudience: t.o.Audience, Time: time.Now()}
	if all.Expiry == nil || all.ValidateWithLeeway(expected, t.o.Leeway) != nil {
		return Person{}, ErrRefused
	}
	if account == "" || kv.FoldAccount(account) != kv.FoldAccount(c.Account) {
		return Person{}, ErrRefused
	}
	if t.o.AccountClaim == mailClaim && all.unverified() { // the person may have named the address of another one
		return Person{}, ErrRefused
	}
	return Person{Source: JWT, Issuer: all.Issuer, Subject: all.Subject, Account: account, Name: all.Name, Mail: all.Mail,
		MailUnverified: all.unverified(), Picture: all.Picture}, nil
}

// mailClaim is the claim that has the mail address.
const mailClaim = "email"

// unverified reports whether the issuer says that it has not verified the mail address. Some issuers write the claim as
// text.
func (c claims) unverified() bool {
	return c.Verified != nil && c.Verified != true && c.Verified != "true"
}

// account returns the text in the claim that has the account, "" if there is none.
func (t *Tokens) account(payload []byte) (account string) {
	name := t.o.AccountClaim
	if name == "" {
		name = "sub"
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(payload, &all) != nil || json.Unmarshal(all[name], &account) != nil {
		return ""
	}
	return strings.TrimSpace(account)
}

// header is the part of a token's header that selects a key.
type header struct {
	Algorithm jose.SignatureAlgorithm `json:"alg"`
	KeyID     string                  `json:"kid"`
}

// inspect reads header and issuer of a signed token, before it is verified. ok is false for text that is none.
func inspect(token string) (h header, issuer string, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxToken {
		return h, "", false
	}
	var body struct {
		Issuer string `json:"iss"`
	}
	for i, into := range []any{&h, &body} {
		part, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(part, into) != nil {
			return h, "", false
		}
	}
	return h, body.Issuer, h.Algorithm != ""
}

// verify returns the payload of a token whose signature is right. The keys say which algorithms a token may have.
//
// Errors: ErrRefused; kv.ErrBusy if the key may exist, but cannot be loaded.
func (t *Tokens) verify(ctx context.Context, token string, h header) ([]byte, error) {
	files := t.keys.Load()
	allowed := publicAlgorithms
	if files.secret != nil {
		allowed = secretAlgorithms
	}
	signed, err := jose.ParseSignedCompact(token, allowed)
	if err != nil {
		return nil, ErrRefused
	}
	if files.secret != nil {
		if payload, err := signed.Verify(files.secret); err == nil {
			return payload, nil
		}
		return nil, ErrRefused
	}
	if payload := verifyWith(signed, files.public, h); payload != nil {
		return payload, nil
	}
	if t.set == nil {
		return nil, ErrRefused
	}
	for _, keys := range []func(context.Context) ([]jose.JSONWebKey, error){t.set.current, t.set.renewed} {
		var all []jose.JSONWebKey
		if all, err = keys(ctx); ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if payload := verifyWith(signed, all, h); payload != nil {
			return payload, nil
		}
		if h.KeyID != "" && hasKey(all, h.KeyID) {
			return nil, ErrRefused // the signature is wrong: no other key will have this id
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the keys of auth.jwt.jwks cannot be loaded: %w", kv.ErrBusy, err)
	}
	return nil, ErrRefused
}

// verifyWith returns the payload of a token that one of the keys has signed, or nil.
func verifyWith(signed *jose.JSONWebSignature, keys []jose.JSONWebKey, h header) []byte {
	for _, k := range keys {
		if !fits(k, h.Algorithm, h.KeyID) {
			continue
		}
		if payload, err := signed.Verify(k.Key); err == nil {
			return payload
		}
	}
	return nil
}

func hasKey(keys []jose.JSONWebKey, id string) bool {
	for _, k := range keys {
		if k.KeyID == id {
			return true
		}
	}
	return false
}
