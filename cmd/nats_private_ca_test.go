package cmd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imctl/bridge/natsauth"
)

// authority issues certificates, and writes them as PEM files in a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	return a
}

// issue writes NAME.crt and NAME.key.
func (a *authority) issue(t *testing.T, name string, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	change(c)
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// TestPrivateCA attaches a server to a NATS server with a certificate of a private authority, which requires client
// certificates. Contexts of attachments name the authority and the missing client certificate.
func TestPrivateCA(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "server", func(*x509.Certificate) {})
	a.issue(t, "imctl", func(*x509.Certificate) {})
	said := command(t, t.TempDir(), "", "nats", "config")
	o := natsOptions(t, fmt.Sprintf("jetstream {store_dir: %q, max_file: 1TB}\ntls {cert_file: %q, key_file: %q, ca_file: %q, verify: true}\n%s",
		t.TempDir(), a.file("server.crt"), a.file("server.key"), a.file("ca.crt"), said.out))
	runNATS(t, o)
	url := strings.Replace(firstGroup(said.err, `url: (\S+)`), ":4222", fmt.Sprint(":", o.Port), 1)
	private := []string{"--nats", url, "--nats.tls.ca", a.file("ca.crt"), "--nats.tls.cert", a.file("imctl.crt"), "--nats.tls.key", a.file("imctl.key")}

	dir := t.TempDir()
	command(t, dir, "", append([]string{"nats", "info"}, private[:2]...)...).want(t, exitFailed, "certificate signed by unknown authority; set nats.tls.ca to the file")
	command(t, dir, "", append([]string{"nats", "info"}, private[:4]...)...).want(t, exitFailed, "set nats.tls.cert and nats.tls.key: the server requires a client certificate")
	command(t, dir, "", append([]string{"nats", "info"}, private...)...).want(t, exitDone, "IM_LOG")

	s := start(t, func(c *Config) {
		c.NATS.URL = url
		c.NATS.TLS = NATSTLSConfig{CA: a.file("ca.crt"), Cert: a.file("imctl.crt"), Key: a.file("imctl.key")}
	})
	w := newWorld(t, s)
	alice, bob := w.newFriends(t)
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Errorf("dialogue: got code %d, want 200", code)
	}
	if strings.Contains(s.log.String(), "cannot log in") {
		t.Error("NATS clients cannot log in")
	}
	made := command(t, dir, "", append([]string{"attach", "add", "root", "--role", "admin", "--context", "root.json"}, private...)...)
	if made.code != exitDone || !strings.Contains(made.err, "may require a client certificate") {
		t.Errorf("attach add: %+v", made)
	}
	text, err := os.ReadFile(filepath.Join(dir, "root.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c natsauth.Context
	if err := json.Unmarshal(text, &c); err != nil || c.CA != a.file("ca.crt") || !strings.Contains(c.Description, "set cert and key") {
		t.Errorf("context: CA %q, description %q, %v", c.CA, c.Description, err)
	}
	w.secret(c.Password)
	// With the certificate the context is complete.
	complete := strings.Replace(string(text), "{", fmt.Sprintf(`{"cert":%q,"key":%q,`, a.file("imctl.crt"), a.file("imctl.key")), 1)
	if err := os.WriteFile(filepath.Join(dir, "root.json"), []byte(complete), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "nats", "info", "--context", "root.json").want(t, exitDone, "IM_LOG")
}

// TestNATSTLSSettings checks what check says of nats.tls.
func TestNATSTLSSettings(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "other", func(*x509.Certificate) {})
	if err := os.WriteFile(a.file("empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "nats: {url: nats://127.0.0.1:4222, "
	for text, want := range map[string]string{
		"nats: {tls: {ca: ca.crt}}":                                         "nats.tls.ca: requires nats.url",
		"nats: {domain: edge}":                                              "nats.domain: requires nats.url or nats.context",
		"nats: {context: c.json, tls: {ca: ca.crt}}":                        "nats.tls.ca: cannot be combined with nats.context",
		url + "tls: {cert: ca.crt}}":                                        "nats.tls.cert: requires nats.tls.key",
		url + "tls: {key: ca.key}}":                                         "nats.tls.key: requires nats.tls.cert",
		url + "tls: {ca: missing}}":                                         "no such file",
		url + "tls: {ca: empty}}":                                           "empty: has no certificate in PEM format",
		url + "tls: {cert: ca.crt, key: other.key}}":                        "private key does not match public key",
		url + "domain: a.b}":                                                "nats.domain: must be one word",
		url + "domain: edge, tls: {ca: ca.crt, cert: ca.crt, key: ca.key}}": "",
	} {
		if err := os.WriteFile(a.file("config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := command(t, a.dir, "", "check")
		if want == "" && got.code != exitDone || want != "" && (got.code != exitUse || !strings.Contains(got.err, want)) {
			t.Errorf("%s: %+v, want %q", text, got, want)
		}
	}
}
