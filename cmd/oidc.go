package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"imctl/bridge"
	"imctl/bridge/oidc"
)

// OIDCConfig is the section auth.oidc.
type OIDCConfig struct {
	Issuer           string // "" for none
	ClientID         string
	ClientSecret     Secret
	ClientSecretFile string
	Scopes           []string // besides openid
	AccountClaim     string
	Label            string // "" for the host of the issuer
}

var defaultOIDC = OIDCConfig{Scopes: []string{"profile", "email"}, AccountClaim: "preferred_username"}

func (c *Config) oidcSettings() []setting {
	o := &c.Auth.OIDC
	return []setting{
		bind("auth.oidc.issuer", &o.Issuer, "URL of the OpenID Connect provider at which users of the page may sign in, empty for none", orEmpty(oidc.CheckIssuer)),
		bind("auth.oidc.client_id", &o.ClientID, "id of imctl at the provider"),
		bind("auth.oidc.client_secret", &o.ClientSecret, "secret of imctl at the provider, empty for a public client"),
		bind("auth.oidc.client_secret_file", &o.ClientSecretFile, "file with the secret of imctl at the provider").asPath(),
		bind("auth.oidc.scopes", &o.Scopes, "scopes to ask the provider for, besides openid", each(scope)),
		bind("auth.oidc.account_claim", &o.AccountClaim, "claim that names the account of a new user", notEmpty),
		bind("auth.oidc.label", &o.Label, "name of the provider on the page, empty for the host of its URL", shortLabel),
	}
}

// scope checks a scope of OAuth 2.0 (RFC 6749, 3.3).
func scope(s string) error {
	return expect(s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }), "must be a scope, such as profile")
}

const maxLabel = 40

func shortLabel(s string) error {
	return expect(utf8.RuneCountInString(s) <= maxLabel, fmt.Sprintf("must have at most %d characters", maxLabel))
}

// oidcConflicts returns the settings of auth.oidc that cannot be combined.
func (c *Config) oidcConflicts() (found []conflict) {
	o := &c.Auth.OIDC
	if o.Issuer == "" {
		if o.ClientID != "" || o.ClientSecret != "" || o.ClientSecretFile != "" {
			found = append(found, conflict{"auth.oidc.client_id", "requires auth.oidc.issuer"})
		}
		return found
	}
	if o.ClientID == "" {
		found = append(found, conflict{"auth.oidc.issuer", "requires auth.oidc.client_id"})
	}
	if o.ClientSecret != "" && o.ClientSecretFile != "" {
		found = append(found, conflict{"auth.oidc.client_secret_file", "cannot be combined with auth.oidc.client_secret: keep one of them"})
	}
	if c.HTTP.URL == "" && len(c.TLS.Domains) == 0 && !onLoopback(c.Listen) {
		found = append(found, conflict{"auth.oidc.issuer", "requires http.url: the provider sends browsers back to the address below it"})
	}
	return found
}

// onLoopback reports whether a listener's address is host:port with a loopback address.
func onLoopback(listen string) bool {
	host, _, _ := strings.Cut(strings.TrimPrefix(listen, "["), "]")
	if !strings.HasPrefix(listen, "[") {
		host, _, _ = strings.Cut(listen, ":")
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// secret returns the client's secret. Errors: those of the file, or an empty file.
func (o *OIDCConfig) secret() (string, error) {
	if o.ClientSecretFile == "" {
		return string(o.ClientSecret), nil
	}
	text, err := os.ReadFile(o.ClientSecretFile)
	if err == nil && strings.TrimSpace(string(text)) == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", o.ClientSecretFile, withoutPath(err))
	}
	return strings.TrimSpace(string(text)), nil
}

// bridgeOIDC returns the options of the sign-in at a provider.
func (a *App) bridgeOIDC() (bridge.OIDC, error) {
	o := &a.config.Auth.OIDC
	if o.Issuer == "" {
		return bridge.OIDC{}, nil
	}
	secret, err := o.secret()
	if err != nil {
		return bridge.OIDC{}, fmt.Errorf("auth.oidc.client_secret_file: %w", err)
	}
	roots, err := a.config.Auth.roots()
	if err != nil {
		return bridge.OIDC{}, fmt.Errorf("auth.ca: %w", err)
	}
	u, err := url.Parse(o.Issuer)
	if err != nil {
		return bridge.OIDC{}, err
	}
	return bridge.OIDC{Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: secret, Scopes: slices.Clone(o.Scopes), AccountClaim: o.AccountClaim,
		Label: cmp.Or(o.Label, u.Hostname()), URL: a.publicURL(), RootCAs: roots}, nil
}
