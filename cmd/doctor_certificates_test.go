package cmd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// issuer signs certificates for a test.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue returns a certificate for a name, nil for an authority's own. by is nil for a root.
func issue(t *testing.T, by *issuer, name string, until time.Time) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	isCA := !strings.Contains(name, ".")
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-1000 * time.Hour),
		NotAfter: until, IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	if isCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.DNSNames = []string{name}
	}
	if by == nil {
		by = &issuer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func (i *issuer) pem(t *testing.T) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func TestDoctorCertificates(t *testing.T) {
	t.Parallel()
	const domain = "im.example.org"
	year := time.Now().Add(365 * day)
	root := issue(t, nil, "root", year)
	between := issue(t, root, "between", year)
	good := issue(t, between, domain, year)
	c := stoppedConfig(t)
	c.TLS = TLSConfig{Mode: "files", Cert: filepath.Join(c.Data, "..", "cert.pem"), Key: filepath.Join(c.Data, "..", "key.pem"), Domains: []string{domain}}
	trust := func(d *doctor) { d.machine.roots = x509.NewCertPool(); d.machine.roots.AddCert(root.cert) }
	write := func(cert, key *issuer, chain ...*issuer) {
		t.Helper()
		certPEM, _ := cert.pem(t)
		_, keyPEM := key.pem(t)
		for _, c := range chain {
			more, _ := c.pem(t)
			certPEM = append(certPEM, more...)
		}
		for file, content := range map[string][]byte{c.TLS.Cert: certPEM, c.TLS.Key: keyPEM} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, x := range []struct {
		name  string
		write func()
		level string
		texts []string
	}{
		{"expired", func() { old := issue(t, between, domain, time.Now().Add(-time.Hour)); write(old, old, between) }, levelFail, []string{"has expired 1 h", "systemctl reload imctl"}},
		{"expires soon", func() { old := issue(t, between, domain, time.Now().Add(5*day)); write(old, old, between) }, levelWarn, []string{"expires in 4 d", c.TLS.Cert}},
		{"another name", func() { other := issue(t, between, "www.example.org", year); write(other, other, between) }, levelFail, []string{"not for im.example.org", "www.example.org"}},
		{"another key", func() { write(good, root, between) }, levelFail, []string{"tls.key", "replace"}},
		{"no chain", func() { write(good, good) }, levelWarn, []string{"fullchain.pem"}},
	} {
		x.write()
		examined(t, c, trust).want(t, "certificate", x.level, x.texts...)
		write(good, good, between)
		examined(t, c, trust).healthy(t, "certificate")
	}
	c.TLS = TLSConfig{Mode: "acme", Domains: []string{domain}}
	examined(t, c).want(t, "certificate", levelWarn, domain+" has none yet", "start the server")
	running := &doctor{config: c, server: new(nats.Conn), now: time.Now()}
	running.checkCertificates()
	running.want(t, "certificate", levelFail, domain+" has none yet", "wait for some seconds", "port 443")
	c.TLS.Mode = "self-signed"
	examined(t, c).healthy(t, "certificate")
	c.TLS, c.Listen = TLSConfig{Mode: "off"}, "0.0.0.0:0"
	examined(t, c).want(t, "tls", levelWarn, "listen: 0.0.0.0:0", "tls.mode: auto")
}
