package cmd

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"imctl/bridge/identity"
)

func TestAuthSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"all":                   {"modes: [jwt, nats, builtin]\n  jwt: {keys: [a.pem, b.pem], issuer: i, audience: [a]}", ""},
		"none":                  {"modes: []", ""},
		"JWK Set":               {"modes: [jwt]\n  jwt: {jwks: 'https://id.example.org/keys', issuer: i, audience: [a]}", ""},
		"unknown mode":          {"modes: [ldap]", "config.yaml:2: auth.modes: item 1: must be builtin, nats or jwt"},
		"twice":                 {"modes: [nats, nats]", "config.yaml:2: auth.modes: has nats twice"},
		"jwt without keys":      {"modes: [jwt]", "config.yaml:2: auth.modes: jwt requires auth.jwt.keys"},
		"secret and keys":       {"modes: [jwt]\n  jwt:\n    keys: [a.pem]\n    secret: s", "config.yaml:5: auth.jwt.secret: cannot be combined"},
		"secret and JWK Set":    {"jwt: {secret: s, jwks: 'https://id.example.org', issuer: i, audience: [a]}", "config.yaml:2: auth.jwt.secret: cannot be combined"},
		"JWK Set over http":     {"jwt: {jwks: 'http://id.example.org'}", "config.yaml:2: auth.jwt.jwks: must be an https URL"},
		"JWK Set, any issuer":   {"jwt: {jwks: 'https://id.example.org', audience: [a]}", "auth.jwt.jwks: requires auth.jwt.issuer"},
		"JWK Set, any audience": {"jwt: {jwks: 'https://id.example.org', issuer: i}", "auth.jwt.jwks: requires auth.jwt.audience"},
		"no account claim":      {"jwt: {account_claim: ''}", "auth.jwt.account_claim: must not be empty"},
		"leeway":                {"jwt: {leeway: 1h}", "auth.jwt.leeway: must be from 0s to 10m"},
		"timeout":               {"nats: {timeout: 1h}", "auth.nats.timeout: must be from 100ms to 20s"},
	} {
		_, err := Load(LoadOptions{Dir: writeConfig(t, "auth:\n  "+c.text+"\n")})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	dir := writeConfig(t, "auth:\n  modes: [jwt]\n  jwt: {keys: [keys/a.pem]}\n")
	command(t, dir, "", "check").want(t, exitUse, "config.yaml:3: auth.jwt.keys: "+filepath.Join(dir, "keys", "a.pem")+": no such file")
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys", "a.pem"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "check").want(t, exitUse, "has a private key")
}

// tokenBy returns a token of an account that is signed with a secret.
func tokenBy(t *testing.T, secret, account string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(secret)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(s).Claims(map[string]any{"sub": account, "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestAuthOnServer logs users in by tokens, and administers them.
func TestAuthOnServer(t *testing.T) {
	t.Parallel()
	const first, second = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	write := func(secret string) {
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	s := start(t, func(c *Config) {
		c.Data, c.NATS.Sync = filepath.Join(dir, "data"), Sync(time.Minute)
		c.Auth.Modes, c.Auth.JWT.Secret = []string{identity.JWT, identity.Builtin}, file
	})
	s.mayLog = []string{"reload of keys failed"}
	w := newWorld(t, s)
	w.secret(first)
	w.secret(second)
	login := func(account, password string, code int) {
		t.Helper()
		if got := w.do(t, 0, http.MethodPost, "/im/session", fields("account", account, "password", password)).code(); got != code {
			t.Errorf("the login of %s is answered %d, want %d", account, got, code)
		}
	}
	bob := w.newMember(t, 0)
	login("ann", tokenBy(t, first, "ann"), 200)
	login(bob.account, bob.password, 200)
	login(bob.account, tokenBy(t, first, bob.account), 505)
	command(t, dir, "", "user", "show", "ann").want(t, exitDone, "source    jwt\n")
	command(t, dir, "", "user", "show", bob.account).want(t, exitDone, "source    builtin\n")
	command(t, dir, "pass", "user", "passwd", "ann").want(t, exitUse, "the user signs in elsewhere")
	command(t, dir, "", "user", "source", bob.account, "ldap").want(t, exitUse, "source must be")
	command(t, dir, "", "user", "source", bob.account, "jwt").want(t, exitDone, "signs in by jwt\n")
	login(bob.account, bob.password, 505)
	login(bob.account, tokenBy(t, first, bob.account), 200)

	exported := command(t, dir, "", "user", "export", "ann").want(t, exitDone, `"external":{"source":"jwt","subject":"ann"`)
	command(t, dir, "", "user", "delete", "ann", "--yes").want(t, exitDone)
	command(t, dir, exported.out, "user", "import", "-").want(t, exitDone)
	command(t, dir, "", "user", "show", "ann").want(t, exitDone, "source    jwt\n")

	write(second)
	s.app.Reload(t.Context(), s.app.config)
	login("ann", tokenBy(t, first, "ann"), 505)
	login("ann", tokenBy(t, second, "ann"), 200)
	write("short")
	s.app.Reload(t.Context(), s.app.config)
	login("ann", tokenBy(t, second, "ann"), 200)
}

// TestAuthFilesAtStart: a file of auth that is missing or wrong ends a start with one line that names the setting, before
// the data directory is touched.
func TestAuthFilesAtStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"no keys":       {"modes: [jwt]\n  jwt: {keys: [k.pem]}", "config.yaml:4: auth.jwt.keys: DIR/k.pem: no such file or directory"},
		"broken keys":   {"modes: [jwt]\n  jwt: {keys: [rubbish]}", "config.yaml:4: auth.jwt.keys: DIR/rubbish: "},
		"short secret":  {"modes: [jwt]\n  jwt: {secret: rubbish}", "config.yaml:4: auth.jwt.secret: DIR/rubbish: has 7 bytes"},
		"no CA":         {"ca: ca.pem", "config.yaml:3: auth.ca: DIR/ca.pem: no such file or directory"},
		"broken CA":     {"ca: rubbish", "config.yaml:3: auth.ca: DIR/rubbish: has no certificate in PEM format"},
		"client secret": {"oidc: {issuer: 'https://id.example.org', client_id: im, client_secret_file: s}", "config.yaml:3: auth.oidc.client_secret_file: DIR/s: no such file"},
	} {
		dir := writeConfig(t, "listen: 127.0.0.1:0\nauth:\n  "+c.text+"\n")
		if err := os.WriteFile(filepath.Join(dir, "rubbish"), []byte("rubbish\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(c.want, "DIR", dir, 1)
		a := command(t, dir, "", "serve")
		line, rest, _ := strings.Cut(a.err, "\n")
		if a.code != exitUse || !strings.HasPrefix(line, want) || rest != "" {
			t.Errorf("%s: exit code %d, %q, want %q", name, a.code, a.err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the data directory: %v", name, err)
		}
	}
}
