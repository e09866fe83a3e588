package embedded

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/nats-io/nkeys"
)

// MinSecret is the shortest secret of a cluster, in characters. A node shows its certificate to everybody that connects,
// so an attacker can test guesses of a secret on his own machines.
const MinSecret = 32

// NewClusterSecret returns 256 random bits as a secret for a cluster.
func NewClusterSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// derive returns 256 bits for one purpose, as hex digits.
func derive(secret, purpose string) string { return hex.EncodeToString(deriveKey(secret, purpose)) }

func deriveKey(secret, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "imctl cluster "+purpose, ed25519.SeedSize)
	if err != nil {
		panic(err) // only a longer key than HKDF can make
	}
	return key
}

// clusterIssuer returns the key that signs the callout's answers. A login may be answered by another node, so all nodes
// have the same key.
func clusterIssuer(secret string) (key nkeys.KeyPair, public string, err error) {
	if key, err = nkeys.FromRawSeed(nkeys.PrefixByteAccount, deriveKey(secret, "auth callout issuer")); err == nil {
		public, err = key.PublicKey()
	}
	if err != nil {
		return nil, "", fmt.Errorf("derive the callout's key: %w", err)
	}
	return key, public, nil
}

// The validity of derived certificates. The clocks of nodes need not agree, and the secret is what expires.
var (
	certStart = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	certEnd   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// secretTLS returns the TLS configuration of routes between nodes that share a secret. The certificate authority is
// derived from the secret, and each process makes a certificate of its own. A node is a peer that knows the secret, at
// whatever address, so the names in certificates do not count.
func secretTLS(secret string) (*tls.Config, error) {
	authority := ed25519.NewKeyFromSeed(deriveKey(secret, "certificate authority"))
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "imctl cluster"}, NotBefore: certStart, NotAfter: certEnd,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	signed, err := newCertificate(ca, ca, authority.Public(), authority)
	if err != nil {
		return nil, err
	}
	if ca, err = x509.ParseCertificate(signed); err != nil {
		return nil, fmt.Errorf("cluster certificate: %w", err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("cluster certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("cluster certificate: %w", err)
	}
	leaf := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "imctl node"}, NotBefore: certStart, NotAfter: certEnd,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if signed, err = newCertificate(leaf, ca, public, authority); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{signed}, PrivateKey: private}},
		ClientAuth:   tls.RequireAnyClientCert,
		// verifyPeer replaces the verification of the library, which compares names.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return verifyPeer(s, pool) },
	}, nil
}

func newCertificate(template, parent *x509.Certificate, public any, key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("cluster certificate: %w", err)
	}
	return der, nil
}

// errOtherSecret is the error of a handshake with a node that has another secret.
var errOtherSecret = errors.New("the node has another nats.cluster.secret")

func verifyPeer(s tls.ConnectionState, pool *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return errOtherSecret
	}
	return nil
}

// fileTLS returns the TLS configuration of routes with certificates from PEM files. Both sides verify each other. The
// files are read again at the next start.
func fileTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("nats.cluster.tls: %w", err)
	}
	b, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("nats.cluster.tls: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("nats.cluster.tls: %s has no certificate in PEM format", caFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, RootCAs: pool}, nil
}
