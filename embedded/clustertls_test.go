package embedded

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pemFiles writes a certificate authority, and a certificate of it for host with its key. It returns their paths.
func pemFiles(t *testing.T, host string) (cert, key, ca string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caPublic, caKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: certStart, NotAfter: certEnd, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := newCertificate(authority, authority, caPublic, caKey)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: certStart, NotAfter: certEnd, DNSNames: []string{host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	leafDER, err := newCertificate(leaf, authority, public, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER), write("ca.pem", "CERTIFICATE", caDER)
}

// TestRouteFiles checks that nodes with certificates from files accept each other, and no certificate of another
// authority or without the host name.
func TestRouteFiles(t *testing.T) {
	t.Parallel()
	load := func(cert, key, ca string) *tls.Config {
		c, err := fileTLS(cert, key, ca)
		if err != nil {
			t.Fatal(err)
		}
		c.ServerName = "im1.example.org"
		return c
	}
	node, other := load(pemFiles(t, "im1.example.org")), load(pemFiles(t, "im1.example.org"))
	if err := handshake(t, node, node); err != nil {
		t.Errorf("the same authority: %v", err)
	}
	if err := handshake(t, node, other); err == nil {
		t.Error("another authority: accepted")
	}
	trusting := other.Clone()
	trusting.RootCAs = node.RootCAs
	if err := handshake(t, node, trusting); err == nil {
		t.Error("a client of another authority: accepted")
	}
	anonymous := node.Clone()
	anonymous.Certificates = nil
	if err := handshake(t, node, anonymous); err == nil {
		t.Error("a client without a certificate: accepted")
	}
	elsewhere := node.Clone()
	elsewhere.ServerName = "im2.example.org"
	if err := handshake(t, node, elsewhere); err == nil {
		t.Error("a certificate for another host: accepted")
	}
	cert, key, _ := pemFiles(t, "x")
	if _, err := fileTLS(cert, key, key); err == nil || !strings.Contains(err.Error(), "has no certificate") {
		t.Errorf("a key in place of the authority: %v", err)
	}
}
