package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	fetchTimeout = 5 * time.Second
	fetchPause   = 10 * time.Second // between two fetches, whatever tokens clients send
	keySetAge    = time.Hour        // after which the key set is fetched again, so that a withdrawn key is dropped
)

// CheckKeySetURL returns an error for a URL from which keys are not loaded: the answer could be forged on its way.
func CheckKeySetURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("must be a URL, such as https://id.example.org/keys")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return errors.New("must be an https URL, except on a loopback address")
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// keySet is the JWK Set of an issuer at a URL. It keeps the keys while the issuer is unreachable.
type keySet struct {
	url    string
	client *http.Client
	log    *slog.Logger
	pause  time.Duration // fetchPause, unless a test sets it
	wg     sync.WaitGroup

	mu       sync.Mutex        // guards the fields below
	keys     []jose.JSONWebKey // nil: none was loaded yet
	loaded   time.Time
	tried    time.Time     // when the last fetch ended
	fetching chan struct{} // closed at the end of the fetch that is under way; nil: none is
	failure  error         // of the last fetch
	closed   bool
}

func newKeySet(url string, roots *x509.CertPool, log *slog.Logger) *keySet {
	var trust *tls.Config
	if roots != nil {
		trust = &tls.Config{RootCAs: roots}
	}
	// The keys come from this address only: a redirect could lead anywhere.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: fetchTimeout}).DialContext,
		ForceAttemptHTTP2: true, TLSClientConfig: trust, TLSHandshakeTimeout: fetchTimeout, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute, MaxIdleConns: 1}
	return &keySet{url: url, log: log, pause: fetchPause, client: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// current returns the keys, and the error of the last fetch if it failed. It fetches keys that are missing, and renews
// old ones in the background.
func (s *keySet) current(ctx context.Context) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	keys, failure := s.keys, s.failure
	if keys != nil && time.Since(s.loaded) > keySetAge {
		s.begin()
	}
	s.mu.Unlock()
	if keys == nil {
		return s.renewed(ctx)
	}
	return keys, failure
}

// renewed fetches the keys, or waits for the fetch that is under way, and returns them. If the last fetch was a moment
// ago, it returns the outcome of that fetch.
func (s *keySet) renewed(ctx context.Context) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	s.begin()
	fetching := s.fetching
	s.mu.Unlock()
	if fetching != nil {
		select {
		case <-fetching:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, s.failure
}

// problem returns why the keys cannot be loaded, "" if they can. It waits for a fetch no longer than ctx.
func (s *keySet) problem(ctx context.Context) string {
	s.mu.Lock()
	loaded := s.keys != nil && s.failure == nil
	s.mu.Unlock()
	if loaded {
		return ""
	}
	_, err := s.renewed(ctx)
	if err != nil && err == ctx.Err() {
		s.mu.Lock()
		err = s.failure
		s.mu.Unlock()
	}
	if err == nil {
		return ""
	}
	return "the keys of auth.jwt.jwks cannot be loaded: " + err.Error()
}

// begin begins a fetch, unless one is under way or the last one was a moment ago. Called with mu held.
func (s *keySet) begin() {
	if s.fetching != nil || time.Since(s.tried) < s.pause || s.closed {
		return
	}
	done := make(chan struct{})
	s.fetching = done
	s.wg.Go(func() {
		defer close(done)
		s.fetch()
	})
}

// fetch loads the keys. One goroutine at a time does.
func (s *keySet) fetch() {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	keys, err := s.load(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.fetching = time.Now(), nil
	switch {
	case err == nil:
		if s.failure != nil {
			s.log.Info("the keys of auth.jwt.jwks are loaded again", "keys", len(keys))
		}
		s.keys, s.loaded = keys, s.tried
	case s.failure == nil:
		s.log.Warn("cannot load the keys of auth.jwt.jwks: those that were loaded before stay valid", "err", err, "keys", len(s.keys))
	}
	s.failure = err
}

func (s *keySet) load(ctx context.Context) ([]jose.JSONWebKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the status is %s", s.url, answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = errors.New("the answer is too large")
	}
	var keys []jose.JSONWebKey
	if err == nil {
		keys, err = parseKeySet(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.url, err)
	}
	return keys, nil
}

// close waits for a fetch in the background.
func (s *keySet) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
	s.client.CloseIdleConnections()
}
