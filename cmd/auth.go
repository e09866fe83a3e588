package cmd

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"imctl/bridge/identity"
)

// AuthConfig is the section auth: who checks the passwords of users.
type AuthConfig struct {
	Modes  []string      // builtin, nats and jwt, in the order in which they are asked
	MaxAge time.Duration // of the tokens of a user that signs in elsewhere; 0: as tokens.max_age
	CA     string        // file with the certificates that sign those of issuers, "" for those of the system alone
	JWT    AuthJWTConfig
	NATS   AuthNATSConfig
	OIDC   OIDCConfig
}

// AuthJWTConfig is the section auth.jwt.
type AuthJWTConfig struct {
	Keys         []string // files with public keys
	Secret       string   // file with a secret for HMAC, "" for none
	JWKS         string   // URL, "" for none
	Issuer       string   // "": not checked
	Audience     []string
	AccountClaim string
	Leeway       time.Duration
}

// AuthNATSConfig is the section auth.nats.
type AuthNATSConfig struct {
	Timeout time.Duration
}

// has reports whether a mode is configured.
func (c AuthConfig) has(mode string) bool { return slices.Contains(c.Modes, mode) }

func (c *Config) authSettings() []setting {
	return []setting{
		bind("auth.modes", &c.Auth.Modes, "what checks passwords, in order: builtin, nats, jwt", each(oneOf(identity.Builtin, identity.NATS, identity.JWT)), unique),
		bind("auth.max_age", &c.Auth.MaxAge, "time from a sign-in elsewhere until its tokens, renewed or not, end, 0 for tokens.max_age", orZero(between(time.Minute, 10*365*24*time.Hour))),
		bind("auth.ca", &c.Auth.CA, "certificates that sign those of auth.jwt.jwks and auth.oidc.issuer, besides those of the system, a PEM file").asPath(),
		bind("auth.jwt.keys", &c.Auth.JWT.Keys, "files with public keys of tokens: PEM, JWK or JWK Set").asPath().asLive(),
		bind("auth.jwt.secret", &c.Auth.JWT.Secret, "file with the secret of tokens that are signed by HMAC, empty for none").asPath().asLive(),
		bind("auth.jwt.jwks", &c.Auth.JWT.JWKS, "URL of the JWK Set with the public keys of tokens, empty for none", orEmpty(identity.CheckKeySetURL)),
		bind("auth.jwt.issuer", &c.Auth.JWT.Issuer, "issuer (iss) that tokens must have, empty for any"),
		bind("auth.jwt.audience", &c.Auth.JWT.Audience, "audiences (aud) of which tokens must have one, empty for any"),
		bind("auth.jwt.account_claim", &c.Auth.JWT.AccountClaim, "claim that has the account", notEmpty),
		bind("auth.jwt.leeway", &c.Auth.JWT.Leeway, "by how much the clocks of server and issuer may differ", between(0, 10*time.Minute)),
		bind("auth.nats.timeout", &c.Auth.NATS.Timeout, "timeout of a question to a program with the role auth", between(100*time.Millisecond, 20*time.Second)),
	}
}

// unique checks that no item of a list occurs twice.
func unique(list []string) error {
	for i, item := range list {
		if slices.Contains(list[:i], item) {
			return fmt.Errorf("has %s twice", item)
		}
	}
	return nil
}

// authConflicts returns the settings of auth that cannot be combined.
func (c *Config) authConflicts() (found []conflict) {
	j := c.Auth.JWT
	for _, rule := range []struct {
		broken    bool
		key, text string
	}{
		{c.Auth.has(identity.JWT) && len(j.Keys) == 0 && j.Secret == "" && j.JWKS == "", "auth.modes", "jwt requires auth.jwt.keys, auth.jwt.jwks or auth.jwt.secret"},
		{j.Secret != "" && (len(j.Keys) > 0 || j.JWKS != ""), "auth.jwt.secret", "cannot be combined with auth.jwt.keys or auth.jwt.jwks: keep public keys or the secret"},
		{j.JWKS != "" && j.Issuer == "", "auth.jwt.jwks", "requires auth.jwt.issuer"},
		{j.JWKS != "" && len(j.Audience) == 0, "auth.jwt.jwks", "requires auth.jwt.audience: otherwise tokens that were made for other programs log in"},
	} {
		if rule.broken {
			found = append(found, conflict{rule.key, rule.text})
		}
	}
	return found
}

// readKeys reads the keys of the files of auth.jwt. key is the setting that an error is about.
func (c AuthJWTConfig) readKeys() (keys *identity.Keys, key string, err error) {
	if c.Secret != "" {
		keys, err = identity.ReadSecret(c.Secret)
		return keys, "auth.jwt.secret", err
	}
	keys, err = identity.ReadKeys(c.Keys)
	return keys, "auth.jwt.keys", err
}

// authMistakes finds files of auth.jwt whose keys cannot be used.
func (c *Config) authMistakes() Mistakes {
	var mistakes Mistakes
	if _, err := c.tokenKeys(); err != nil {
		errors.As(err, &mistakes)
	}
	if _, err := c.Auth.roots(); err != nil {
		mistakes = append(mistakes, Mistake{Where: c.Origin("auth.ca"), Key: "auth.ca", Text: err.Error()})
	}
	return mistakes
}

// roots returns the certificates that sign those of issuers, nil for those of the system.
func (c AuthConfig) roots() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.CA, withoutPath(err))
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // the system has none
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: has no certificate in PEM format", c.CA)
	}
	return pool, nil
}

// tokenKeys returns the keys of the files of auth.jwt. The error is Mistakes.
func (c *Config) tokenKeys() (*identity.Keys, error) {
	keys, key, err := c.Auth.JWT.readKeys()
	if err != nil {
		return nil, Mistakes{{Where: c.Origin(key), Key: key, Text: err.Error()}}
	}
	return keys, nil
}

// checkAuth reads the files that auth names and a server needs, so that a start fails before it opens the store. The
// error is Mistakes.
func (c *Config) checkAuth() error {
	var mistakes Mistakes
	if c.Auth.has(identity.JWT) {
		if _, err := c.tokenKeys(); err != nil {
			return err
		}
	}
	if _, err := c.Auth.roots(); err != nil {
		mistakes = append(mistakes, Mistake{Where: c.Origin("auth.ca"), Key: "auth.ca", Text: err.Error()})
	}
	if o := &c.Auth.OIDC; o.Issuer != "" {
		if _, err := o.secret(); err != nil {
			const key = "auth.oidc.client_secret_file"
			mistakes = append(mistakes, Mistake{Where: c.Origin(key), Key: key, Text: err.Error()})
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	return mistakes
}

// startTokens starts the verification of tokens, if auth.modes has it.
func (a *App) startTokens() error {
	j := a.config.Auth.JWT
	if !a.config.Auth.has(identity.JWT) {
		return nil
	}
	keys, err := a.config.tokenKeys()
	if err != nil {
		return err
	}
	roots, err := a.config.Auth.roots()
	if err != nil {
		return fmt.Errorf("auth.ca: %w", err)
	}
	a.tokens = identity.NewTokens(identity.TokensOptions{Keys: keys, KeySet: j.JWKS, Issuer: j.Issuer, Audience: j.Audience,
		AccountClaim: j.AccountClaim, Leeway: j.Leeway, RootCAs: roots, Log: a.log})
	return nil
}

// reloadTokens reads the files with keys again. If one cannot be read, the keys stay as they are.
func (a *App) reloadTokens(c *Config) {
	if a.tokens == nil {
		return
	}
	keys, key, err := c.Auth.JWT.readKeys()
	if err == nil && len(c.Auth.JWT.Keys) == 0 && c.Auth.JWT.Secret == "" && a.config.Auth.JWT.JWKS == "" {
		err = errors.New("no key is left")
	}
	if err != nil {
		a.log.Error("reload of keys failed; the old keys stay in use", "setting", key, "err", err)
		return
	}
	a.tokens.SetKeys(keys)
}
