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
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// The first and the longest wait before a certificate is asked for again.
	// Let's Encrypt stands five failures an hour.
	firstRetry, lastRetry = 5 * time.Minute, time.Hour

	// expiryCheck is how often served certificates are looked at for a renewal that is late.
	expiryCheck = 12 * time.Hour

	// alpnProto marks the connection by which an authority has the control of a
	// domain proved to it (RFC 8737).
	alpnProto = acme.ALPNProto

	// maxAnswer is more than any ACME answer needs; the largest is a chain of certificates.
	maxAnswer = 1 << 20
)

// acmeCerts serves certificates that an authority grants for the domains. It
// proves control of a domain on the TLS port itself (tls-alpn-01), so nothing
// else has to listen.
type acmeCerts struct {
	domains []string
	manager *autocert.Manager
	log     *slog.Logger
	last    atomic.Pointer[x509.Certificate] // served last, nil at first
	stop    context.CancelFunc               // cuts off exchanges with the authority
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
		directory = autocert.DefaultACMEDirectory
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

// cacheName keeps what one authority granted apart from another's: a
// certificate of a test directory must not be served after the real one is set.
func cacheName(directory string) string {
	sum := sha256.Sum256([]byte(directory))
	host := ""
	if u, err := url.Parse(directory); err == nil {
		host = strings.Map(fileRune, strings.ToLower(u.Hostname()))
	}
	return host + "-" + hex.EncodeToString(sum[:4])
}

// fileRune replaces what a file's name can't hold on every system.
func fileRune(r rune) rune {
	if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' {
		return r
	}
	return '_'
}

func (a *acmeCerts) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, err := a.manager.GetCertificate(withECDSA(hello))
	if err == nil && !slices.Equal(hello.SupportedProtos, []string{alpnProto}) {
		a.last.Store(cert.Leaf)
	}
	return cert, err
}

// withECDSA names a cipher suite with ECDSA for clients that speak TLS 1.3 only,
// whose suites don't say what signatures they take. Without it the manager takes
// them for clients of old and asks for a second certificate with an RSA key.
// Signature algorithms and curves still have their say.
func withECDSA(hello *tls.ClientHelloInfo) *tls.ClientHelloInfo {
	if !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
		return hello
	}
	h := *hello
	h.CipherSuites = append(slices.Clone(h.CipherSuites), tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	return &h
}

func (a *acmeCerts) leaf() *x509.Certificate { return a.last.Load() }

func (a *acmeCerts) protocols() []string { return []string{alpnProto} }

// reload has nothing to do: the manager renews by itself.
func (a *acmeCerts) reload(context.Context) error { return nil }

// run asks for the certificates, so that the first visitor need not wait and a
// failure is in the log at the start. Renewal is the manager's.
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

// sleep reports whether it could sleep that long before ctx ended.
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

// obtain asks for the certificates of domains, one after the other, and returns
// those that failed. Of one that is there already it only looks at the age: the
// manager is silent when a renewal fails.
func (a *acmeCerts) obtain(ctx context.Context, domains []string, wait time.Duration) (failed []string) {
	type answer struct {
		cert *tls.Certificate
		err  error
	}
	for _, domain := range domains {
		got := make(chan answer, 1)
		// The manager takes no context: when ours ends, this goroutine ends by the next
		// thing that it asks the authority, and is not waited for.
		go func() {
			cert, err := a.certificate(&tls.ClientHelloInfo{ServerName: domain, SupportedVersions: []uint16{tls.VersionTLS13}})
			got <- answer{cert, err}
		}()
		select {
		case <-ctx.Done():
			return domains
		case got := <-got:
			switch {
			case got.err != nil:
				a.log.Error("no certificate from the ACME authority; it connects to port 443 of the domain, which has to lead here",
					"domain", domain, "error", got.err, "again_in", wait)
				failed = append(failed, domain)
			case late(got.cert.Leaf, time.Now()):
				a.log.Error("the certificate should have been renewed by now", describe(got.cert.Leaf))
			default:
				a.log.Debug("certificate ready", describe(got.cert.Leaf))
			}
		}
	}
	return failed
}

// late reports whether a certificate has been due for renewal for some time: the
// manager begins 30 days before the end, or with the last third of a shorter life.
func late(cert *x509.Certificate, now time.Time) bool {
	due := min(cert.NotAfter.Sub(cert.NotBefore)/3, 30*24*time.Hour)
	return cert.NotAfter.Sub(now) < due*3/4
}

// transport talks to the authority. It ends with the life of the server, which
// the manager knows nothing of, and logs why the authority refused a domain,
// which the manager doesn't pass on.
type transport struct {
	life context.Context
	base *http.Transport
	log  *slog.Logger
	told atomic.Value // URL of the authorization whose refusal was logged last
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

// CloseIdleConnections is what http.Client looks for.
func (t *transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

// RoundTrip reads the whole answer, since it has to look into some.
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
		return nil, fmt.Errorf("the ACME authority's answer is longer than %d bytes", maxAnswer)
	}
	t.logRefusal(r.URL.String(), body)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// logRefusal looks for an authorization (RFC 8555, 7.1.4) that was refused. The
// manager asks for each twice, the second time to clean up.
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
	if len(authorization.Challenges) == 0 || t.told.Swap(authzURL) == authzURL {
		return
	}
	for _, c := range authorization.Challenges {
		if c.Error.Detail != "" || c.Error.Type != "" {
			t.log.Warn("the ACME authority could not verify the domain", "domain", authorization.Identifier.Value,
				"challenge", c.Type, "problem", c.Error.Type, "detail", c.Error.Detail)
		}
	}
}
