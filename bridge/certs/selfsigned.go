package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/idna"

	"imctl/embedded/privatefile"
)

const (
	// selfSignedLife is below 398 days, the maximum that browsers accept.
	selfSignedLife = 397 * 24 * time.Hour

	// selfSignedRenew is how long before its expiry a certificate is replaced, so that users who trust its
	// fingerprint have time to verify the new one.
	selfSignedRenew = 30 * 24 * time.Hour

	// clockSkew is how far the clock of a client may be behind.
	clockSkew = time.Hour

	renewalCheck = time.Hour
)

// selfSigned serves a certificate that it creates and stores in Dir.
type selfSigned struct {
	certFile, keyFile string
	names             []string // hosts and addresses that the certificate must have
	log               *slog.Logger

	current atomic.Pointer[tls.Certificate] // never nil
	mu      sync.Mutex                      // held while the files are read or written
}

func newSelfSigned(o Options, hosts ...string) (*selfSigned, error) {
	if err := privateDir(o.Dir); err != nil {
		return nil, &SettingError{"data", err}
	}
	names, err := requiredNames(hosts, o.Domains)
	if err != nil {
		return nil, err
	}
	s := &selfSigned{
		certFile: OwnFile(o.Dir),
		keyFile:  filepath.Join(o.Dir, "self-signed.key"),
		names:    names,
		log:      o.Log,
	}
	return s, s.reload(context.Background())
}

func (s *selfSigned) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

func (s *selfSigned) protocols() []string { return nil }

func (s *selfSigned) expiry() time.Time { return s.current.Load().Leaf.NotAfter }

func (s *selfSigned) run(ctx context.Context) {
	tick := time.NewTicker(renewalCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			until := s.current.Load().Leaf.NotAfter
			if now.Before(until.Add(-selfSignedRenew)) {
				continue
			}
			if err := s.reload(ctx); err != nil {
				s.log.Error("cannot renew the self-signed certificate", "error", err, "until", until)
			}
		}
	}
}

// reload loads the certificate from its files, or creates one if it is missing or unsuitable.
func (s *selfSigned) reload(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pair, err := readPair(s.certFile, s.keyFile)
	reason := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		reason = "no certificate yet"
	case errors.As(err, new(*fs.PathError)):
		return fmt.Errorf("read the self-signed certificate: %w", errors.Unwrap(err))
	case err != nil:
		reason = "the old certificate is damaged" // partly written when the machine stopped, so it was never served
	default:
		reason = s.unsuitable(pair.Leaf)
	}
	if reason != "" {
		if pair, err = s.create(); err != nil {
			return fmt.Errorf("create a self-signed certificate: %w", err)
		}
		s.log.Info("self-signed certificate created", "reason", reason, describe(pair.Leaf))
	} else {
		if err := private(s.keyFile, 0o600); err != nil {
			return fmt.Errorf("protect the key of the self-signed certificate: %w", err)
		}
		if s.current.Load() == nil {
			s.log.Info("self-signed certificate in use", describe(pair.Leaf))
		}
	}
	s.current.Store(pair)
	return nil
}

// unsuitable returns the reason why a certificate must be replaced, or "". A new host name of the machine is no
// reason: in containers it changes with every start, and so would the fingerprint that users verify.
func (s *selfSigned) unsuitable(cert *x509.Certificate) string {
	now := time.Now()
	if err := valid(cert, now); err != nil {
		return err.Error()
	}
	if now.After(cert.NotAfter.Add(-selfSignedRenew)) {
		return "the old certificate expires soon"
	}
	for _, name := range s.names {
		if cert.VerifyHostname(name) != nil {
			return "the old certificate is not valid for " + name
		}
	}
	return ""
}

// create creates a key and a certificate and stores them. The two files are not replaced atomically: a crash in
// between leaves a pair that does not match, which reload replaces.
func (s *selfSigned) create() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := s.template()
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := privatefile.Write(s.keyFile, keyPEM); err != nil {
		return nil, err
	}
	if err := privatefile.Write(s.certFile, certPEM); err != nil {
		return nil, err
	}
	return readPair(s.certFile, s.keyFile)
}

func (s *selfSigned) template() *x509.Certificate {
	start := time.Now().Add(-clockSkew).UTC().Truncate(time.Second)
	cert := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "imctl"},
		NotBefore:   start,
		NotAfter:    start.Add(selfSignedLife - time.Second), // NotAfter is inclusive
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// Not an authority: trusting it must not mean trusting certificates signed with its key. Firefox also refuses
		// the certificate of an authority for a server.
		BasicConstraintsValid: true,
	}
	for _, name := range append(slices.Clone(s.names), machineNames()...) {
		if ip := net.ParseIP(name); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else if !slices.Contains(cert.DNSNames, name) {
			cert.DNSNames = append(cert.DNSNames, name)
		}
	}
	return cert
}

// requiredNames returns the names that clients on this machine use, the hosts of the listeners that are not
// unspecified, and the extra names of the settings.
func requiredNames(hosts, extra []string) ([]string, error) {
	names := []string{"localhost", "127.0.0.1", "::1"}
	add := func(name string) error {
		if addr, err := netip.ParseAddr(name); err == nil {
			name = addr.Unmap().WithZone("").String()
		} else if name, err = hostName(name); err != nil {
			return err
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	}
	for _, host := range hosts {
		if addr, err := netip.ParseAddr(host); host != "" && (err != nil || !addr.Unmap().IsUnspecified()) {
			if err := add(host); err != nil {
				return nil, &SettingError{"listen", err}
			}
		}
	}
	for _, name := range extra {
		if err := add(name); err != nil {
			return nil, &SettingError{"tls.domains", err}
		}
	}
	return names, nil
}

// machineNames returns the host name of the machine, in full and up to the first dot.
func machineNames() []string {
	full, err := os.Hostname()
	if err != nil {
		return nil
	}
	full, err = hostName(full)
	if err != nil {
		return nil // not a valid name in a certificate
	}
	short, _, _ := strings.Cut(full, ".")
	return []string{full, short}
}

// hostName returns a name in the form of certificates. It allows underscores, which internal names have although the
// rules for domains forbid them.
func hostName(name string) (string, error) {
	trimmed := strings.TrimSuffix(strings.TrimSpace(name), ".")
	ascii, err := idna.Lookup.ToASCII(trimmed)
	if err != nil && strings.Contains(trimmed, "_") {
		lower := strings.ToLower(trimmed)
		dashed := strings.ReplaceAll(lower, "_", "-")
		if ascii, err = idna.Lookup.ToASCII(dashed); err == nil && ascii == dashed {
			ascii = lower
		}
	}
	if err != nil || ascii == "" || len(ascii) > 253 {
		return "", fmt.Errorf("%q is not a host name", name)
	}
	return ascii, nil
}
