// Package certs provides the certificates of the listeners: from files, from an ACME authority, or self-signed. It
// renews or reloads them while the server runs, and decides which listeners use TLS at all.
package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// The values of the setting tls.mode. ModeAuto and the empty string choose one of the others by the listener's
// address.
const (
	ModeAuto       = "auto"
	ModeOff        = "off"
	ModeFiles      = "files"
	ModeACME       = "acme"
	ModeSelfSigned = "self-signed"
)

// Options configure a Source.
type Options struct {
	// Mode is one of the constants above. ModeAuto means plain HTTP on a loopback address. On any other address it
	// means files if Cert is set, ACME if Domains are set, and self-signed otherwise.
	Mode string

	// Cert and Key are the PEM files of mode files. Cert has the chain, with the server's certificate first.
	Cert, Key string

	// Domains are the names of the ACME certificates, one certificate each. A self-signed certificate has them as
	// additional names or IP addresses.
	Domains []string

	// Email is the contact address for the ACME authority, or empty.
	Email string

	// Directory is the directory URL of the ACME authority. Empty means Let's Encrypt.
	Directory string

	// RootCAs are trusted for requests to the ACME authority. nil means the roots of the system.
	RootCAs *x509.CertPool

	// Dir is the directory for generated files: keys, certificates, the ACME account. It is created with mode 0700,
	// its files with mode 0600.
	Dir string

	// Listen is the host:port of the listener of the page, the front.
	Listen string

	// Others are the host:port of the other listeners, for NATS clients and for operators.
	Others []string

	// Interval is the polling interval for changed certificate files. 0 means 3 s.
	Interval time.Duration

	// Log may be nil.
	Log *slog.Logger
}

// SettingError is an invalid setting.
type SettingError struct {
	Setting string // its key in the configuration, such as "tls.cert"
	Err     error
}

func (e *SettingError) Error() string { return e.Setting + ": " + e.Err.Error() }

func (e *SettingError) Unwrap() error { return e.Err }

// provider is a way to get a certificate.
type provider interface {
	certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	protocols() []string // for ALPN, in addition to those of HTTP
	reload(context.Context) error
	run(context.Context)
	expiry() time.Time // of the certificate that expires first, zero if there is none
}

// Source provides the certificates of the listeners. Its methods may be called concurrently.
type Source struct {
	provider provider    // of the front; nil without TLS
	others   provider    // of the other listeners; nil without TLS
	own      *selfSigned // nil if no listener uses it
}

// New checks the options and loads or creates the certificate. An ACME certificate is requested by Run or the first
// connection, since the authority connects to the listener. The error for invalid options is a *SettingError.
func New(o Options) (*Source, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Interval <= 0 {
		o.Interval = 3 * time.Second
	}
	_, mode, err := resolve(o)
	if err != nil {
		return nil, err
	}
	s := &Source{}
	switch mode {
	case ModeFiles:
		s.provider, err = newFiles(o)
	case ModeACME:
		s.provider, err = newACME(o)
	}
	if err == nil {
		err = s.addOthers(o, mode)
	}
	if err != nil {
		return nil, err
	}
	if mode == ModeSelfSigned {
		s.provider = s.own
	}
	return s, nil
}

// providers returns each provider once.
func (s *Source) providers() (all []provider) {
	for _, p := range []provider{s.provider, s.others} {
		if p != nil && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	if s.own != nil && !slices.Contains(all, provider(s.own)) {
		all = append(all, s.own)
	}
	return all
}

// TLSConfig returns a new configuration for the front, or nil if the front does not use TLS. The configuration
// always serves the current certificate.
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

// Reload reads certificate files again at once. On an error the old certificate stays in use.
func (s *Source) Reload(ctx context.Context) error {
	var failed []error
	for _, p := range s.providers() {
		failed = append(failed, p.reload(ctx))
	}
	return errors.Join(failed...)
}

// Run keeps the certificate current until ctx ends: it reloads changed files, renews a self-signed certificate, and
// requests ACME certificates before the first client connects. Call it once, when the listener is up. When ctx ends, a
// pending ACME request is aborted, which may end shortly after Run.
func (s *Source) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, p := range s.providers() {
		running.Go(func() { p.run(ctx) })
	}
	<-ctx.Done()
	running.Wait()
}

// Fingerprint returns the SHA-256 of a certificate in the format of browsers and openssl.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// describe returns the log attributes of a certificate.
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

// valid returns an error if cert is not valid at that time.
func valid(cert *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", cert.NotBefore.Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return fmt.Errorf("the certificate expired at %s", cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}
