package certs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// The first and the longest delay before a failed request for a certificate is retried. Let's Encrypt allows five
	// failures per hour.
	firstRetry, lastRetry = 5 * time.Minute, time.Hour

	// expiryCheck is the interval of the checks for an overdue renewal.
	expiryCheck = 12 * time.Hour

	// alpnProto identifies the connection by which an authority verifies the control of a domain (RFC 8737).
	alpnProto = acme.ALPNProto

	// defaultDirectory is that of Let's Encrypt.
	defaultDirectory = autocert.DefaultACMEDirectory

	// maxAnswer is larger than any ACME answer. The largest is a certificate chain.
	maxAnswer = 1 << 20
)

// acmeCerts serves certificates that an authority issues for the domains. It proves control of a domain on the TLS
// port itself (tls-alpn-01), so it needs no other listener.
type acmeCerts struct {
	domains []string
	manager *autocert.Manager
	log     *slog.Logger
	stop    context.CancelFunc // aborts requests to the authority

	mu      sync.Mutex
	expires map[string]time.Time // by the first name of the certificate; as last served or checked
}

func newACME(o Options) (*acmeCerts, error) {
	a := &acmeCerts{log: o.Log}
	for _, name := range o.Domains {
		domain, err := publicDomain(name)
		if err != nil {
			return nil, &SettingError{"tls.domains", err}
		}
		if !slices.Contains(a.domains, domain) {
			a.domains = append(a.domains, domain)
		}
	}
	directory := o.Directory
	if directory == "" {
		directory = defaultDirectory
	}
	cache := filepath.Join(o.Dir, "acme", cacheName(directory))
	for _, dir := range []string{o.Dir, filepath.Dir(cache), cache} {
		if err := privateDir(dir); err != nil {
			return nil, &SettingError{"data", err}
		}
	}
	life, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.manager = &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(cache),
		HostPolicy: autocert.HostWhitelist(a.domains...),
		Email:      o.Email,
		Client: &acme.Client{
			DirectoryURL: directory,
			UserAgent:    "imctl",
			HTTPClient:   &http.Client{Transport: newTransport(life, o), Timeout: time.Minute},
		},
	}
	return a, nil
}

// cacheName returns the cache directory of an authority. Each has its own, so that a certificate of a test authority
// is not served after the switch to a real one.
func cacheName(directory string) string {
	sum := sha256.Sum256([]byte(directory))
	host := ""
	if u, err := url.Parse(directory); err == nil {
		host = strings.Map(fileRune, strings.ToLower(u.Hostname()))
	}
	return host + "-" + hex.EncodeToString(sum[:4])
}

// fileRune replaces characters that file names cannot have on all platforms.
func fileRune(r rune) rune {
	if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' {
		return r
	}
	return '_'
}

func (a *acmeCerts) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := a.manager.GetCertificate(withECDSA(hello))
	challenge := slices.Equal(hello.SupportedProtos, []string{alpnProto}) // its certificate is not for clients
	if err == nil && !challenge && cert.Leaf != nil && len(cert.Leaf.DNSNames) > 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.expires == nil {
			a.expires = make(map[string]time.Time)
		}
		a.expires[cert.Leaf.DNSNames[0]] = cert.Leaf.NotAfter
	}
	return cert, err
}

func (a *acmeCerts) expiry() (first time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, domain := range a.domains {
		if at, ok := a.expires[domain]; ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// withECDSA adds a cipher suite with ECDSA for TLS 1.3 clients, whose suites do not specify signatures. Without it,
// the manager treats clients that support only TLS 1.3 as legacy clients and requests a second certificate with an
// RSA key. The manager still checks signature algorithms and curves.
func withECDSA(hello *tls.ClientHelloInfo) *tls.ClientHelloInfo {
	if !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
		return hello
	}
	h := *hello
	h.CipherSuites = append(slices.Clone(h.CipherSuites), tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	return &h
}

func (a *acmeCerts) protocols() []string { return []string{alpnProto} }

// reload does nothing: the manager renews certificates.
func (a *acmeCerts) reload(context.Context) error { return nil }

// run requests the certificates, so that the first client does not wait and failures are logged at the start. The
// manager renews them.
func (a *acmeCerts) run(ctx context.Context) {
	defer a.stop()
	defer a.manager.Client.HTTPClient.CloseIdleConnections()
	missing := a.domains
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		if missing = a.obtain(ctx, missing, wait); len(missing) == 0 {
			break
		}
		if !sleep(ctx, wait) {
			return
		}
	}
	for sleep(ctx, expiryCheck) {
		a.obtain(ctx, a.domains, expiryCheck)
	}
}

// sleep sleeps for d. It returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// obtain requests the certificates of domains sequentially and returns the domains that failed. It also checks the
// age of existing certificates, since the manager does not report a failed renewal.
func (a *acmeCerts) obtain(ctx context.Context, domains []string, wait time.Duration) (failed []string) {
	type result struct {
		cert *tls.Certificate
		err  error
	}
	for _, domain := range domains {
		results := make(chan result, 1)
		// The manager accepts no context. When ctx ends, this goroutine ends with its next request to the authority,
		// and nothing waits for it.
		go func() {
			cert, err := a.certificate(&tls.ClientHelloInfo{ServerName: domain, SupportedVersions: []uint16{tls.VersionTLS13}})
			results <- result{cert, err}
		}()
		select {
		case <-ctx.Done():
			return domains
		case got := <-results:
			switch {
			case got.err != nil:
				a.log.Error("no certificate from the ACME authority: it must reach this server on port 443 of the domain",
					"domain", domain, "error", got.err, "retry_in", wait)
				failed = append(failed, domain)
			case late(got.cert.Leaf, time.Now()):
				a.log.Error("the renewal of the certificate is overdue", describe(got.cert.Leaf))
			default:
				a.log.Debug("certificate ready", describe(got.cert.Leaf))
			}
		}
	}
	return failed
}

// late reports whether the renewal of a certificate is overdue. The manager renews it 30 days before it expires, or
// in the last third of a shorter lifetime.
func late(cert *x509.Certificate, now time.Time) bool {
	due := min(cert.NotAfter.Sub(cert.NotBefore)/3, 30*24*time.Hour)
	return cert.NotAfter.Sub(now) < due*3/4
}

// transport sends requests to the authority. It does what the manager does not: it aborts requests when the server
// shuts down, and logs why the authority refused a domain.
type transport struct {
	life   context.Context // ends when the server shuts down
	base   *http.Transport
	log    *slog.Logger
	logged atomic.Value // URL of the last authorization whose refusal was logged
}

func newTransport(life context.Context, o Options) *transport {
	return &transport{
		life: life,
		log:  o.Log,
		base: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: 10 * time.Second,
			IdleConnTimeout:     30 * time.Second,
			ForceAttemptHTTP2:   true,
		},
	}
}

// CloseIdleConnections is called by http.Client.CloseIdleConnections.
func (t *transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

// RoundTrip reads the whole answer, since it may need to log a refusal.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(t.life, cancel)()
	answer, err := t.base.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("answer of the ACME authority exceeds %d bytes", maxAnswer)
	}
	t.logRefusal(r.URL.String(), body)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// logRefusal logs a refused authorization (RFC 8555, section 7.1.4) once. The manager requests each twice, the second
// time to clean up.
func (t *transport) logRefusal(authzURL string, body []byte) {
	var authorization struct {
		Status     string
		Identifier struct{ Value string }
		Challenges []struct {
			Type  string
			Error struct{ Type, Detail string }
		}
	}
	if json.Unmarshal(body, &authorization) != nil || authorization.Status != acme.StatusInvalid {
		return
	}
	if len(authorization.Challenges) == 0 || t.logged.Swap(authzURL) == authzURL {
		return
	}
	for _, c := range authorization.Challenges {
		if c.Error.Detail != "" || c.Error.Type != "" {
			t.log.Warn("the ACME authority could not verify the domain", "domain", authorization.Identifier.Value,
				"challenge", c.Type, "problem", c.Error.Type, "detail", c.Error.Detail)
		}
	}
}
