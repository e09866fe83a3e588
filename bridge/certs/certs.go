// Package certs gives the HTTP listener its certificate: from files, from a
// certificate authority by ACME, or one that it signs itself. It keeps that
// certificate fresh while the server runs, and says when there is to be none.
package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// The values of tls.mode. Auto and the empty string choose by the address that
// is listened on; Source.Mode tells which of the others it became.
const (
	ModeAuto       = "auto"
	ModeOff        = "off"
	ModeFiles      = "files"
	ModeACME       = "acme"
	ModeSelfSigned = "self-signed"
)

// Options say where the certificate comes from.
type Options struct {
	// Mode is one of the constants above. Auto is plain HTTP on a loopback
	// address; on any other it is files if Cert is set, ACME if Domains are,
	// and self-signed otherwise.
	Mode string

	// Cert and Key are PEM files, of mode files. Cert holds the chain, the
	// server's own certificate first.
	Cert, Key string

	// Domains are the names that ACME certificates are asked for, one certificate
	// each. In a self-signed certificate they are further names or IP addresses.
	Domains []string

	// Email is where the ACME authority may write to, or empty.
	Email string

	// Directory is the ACME authority's directory URL; empty is Let's Encrypt.
	Directory string

	// RootCAs are trusted when talking to the ACME authority; nil means the system's.
	RootCAs *x509.CertPool

	// Dir is the folder for what is made here: keys, certificates, the ACME
	// account. It is created with mode 0700, the files with 0600.
	Dir string

	// Listen is the host:port of the listener.
	Listen string

	// Interval is how often certificate files are looked at for a change; 0 is 3 s.
	Interval time.Duration

	// Log may be nil.
	Log *slog.Logger
}

// SettingError is a setting that can't be followed.
type SettingError struct {
	Setting string // as in the configuration: "tls.cert"
	Err     error
}

func (e *SettingError) Error() string { return e.Setting + ": " + e.Err.Error() }

func (e *SettingError) Unwrap() error { return e.Err }

// provider is one way to come by a certificate.
type provider interface {
	certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	leaf() *x509.Certificate // nil when there is none yet
	protocols() []string     // for ALPN, beside HTTP's
	reload(context.Context) error
	run(context.Context)
}

// Source is where a listener's certificate comes from. Its methods may be called
// concurrently.
type Source struct {
	mode     string
	provider provider // nil when plain
}

// New checks the options and loads or makes the certificate; an ACME
// certificate is only asked for by Run or the first connection, since the
// authority calls back. Options that can't be followed are a *SettingError.
func New(o Options) (*Source, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Interval <= 0 {
		o.Interval = 3 * time.Second
	}
	host, mode, err := resolve(o)
	if err != nil {
		return nil, err
	}
	s := &Source{mode: mode}
	switch mode {
	case ModeFiles:
		s.provider, err = newFiles(o)
	case ModeACME:
		s.provider, err = newACME(o)
	case ModeSelfSigned:
		s.provider, err = newSelfSigned(o, host)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Mode is the effective mode: ModeOff, ModeFiles, ModeACME or ModeSelfSigned.
func (s *Source) Mode() string { return s.mode }

// TLSConfig is what to serve TLS with, a copy for each call, or nil when the
// listener is to be plain. Certificates that change later reach it too.
func (s *Source) TLSConfig() *tls.Config {
	if s.provider == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     append([]string{"h2", "http/1.1"}, s.provider.protocols()...),
		GetCertificate: s.provider.certificate,
	}
}

// Certificate is what is served, or nil when plain or when the ACME authority
// has not given one yet. With several domains it is the one served last.
func (s *Source) Certificate() *x509.Certificate {
	if s.provider == nil {
		return nil
	}
	return s.provider.leaf()
}

// Reload looks for a new certificate at once: files are read again. On an error
// the old one stays in use.
func (s *Source) Reload(ctx context.Context) error {
	if s.provider == nil {
		return nil
	}
	return s.provider.reload(ctx)
}

// Run keeps the certificate fresh until ctx ends: it follows changes of the
// files, renews a self-signed certificate, asks for those of ACME before the first
// visitor does. Call it once, when the listener is up. An ACME exchange that
// is under way when ctx ends is cut off and may take a moment longer to notice.
func (s *Source) Run(ctx context.Context) {
	if s.provider == nil {
		<-ctx.Done()
		return
	}
	s.provider.run(ctx)
}

// Fingerprint is the SHA-256 of a certificate as browsers and openssl show it.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// describe gives the attributes of a log line about a certificate.
func describe(cert *x509.Certificate) slog.Attr {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return slog.Group("certificate",
		slog.String("names", strings.Join(names, " ")),
		slog.Time("until", cert.NotAfter),
		slog.String("sha256", Fingerprint(cert)))
}

// valid says why cert can't be used at that time.
func valid(cert *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", cert.NotBefore.Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return fmt.Errorf("the certificate ended at %s", cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}
