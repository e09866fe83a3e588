package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// discoveryLife is after how long the description of a provider is read again. While that fails, the old one is used.
	discoveryLife = time.Hour
	// maxAnswer is the bytes of the largest answer of a provider.
	maxAnswer = 1 << 20
)

// provider is a provider that has been discovered. It caches the provider's keys.
type provider struct {
	*oidc.Provider
	style oauth2.AuthStyle
	read  time.Time
}

// known is the provider, once it has answered.
type known struct {
	mu      sync.Mutex
	current *provider
}

func (k *known) get() *provider {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

func (k *known) set(p *provider) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = p
}

// find returns the provider. The first call asks for its description, and so does each call after an error. Concurrent
// calls share one request.
func (s *Service) find(ctx context.Context) (*provider, error) {
	current := s.provider.get()
	if current != nil && time.Since(current.read) < discoveryLife {
		return current, nil
	}
	found := s.discover.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), providerTimeout)
		defer cancel()
		p, err := s.read(ctx)
		if err == nil {
			s.provider.set(p)
		}
		return p, err
	})
	select {
	case r := <-found:
		if r.Err == nil {
			return r.Val.(*provider), nil
		}
		if current != nil {
			s.opts.Log.Warn("read the description of the OpenID Connect provider again", "issuer", s.opts.Issuer, "err", shown(r.Err))
			return current, nil
		}
		return nil, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read asks the provider for its description.
func (s *Service) read(ctx context.Context) (*provider, error) {
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, s.client), s.opts.Issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		Auth    string   `json:"authorization_endpoint"`
		Token   string   `json:"token_endpoint"`
		Info    string   `json:"userinfo_endpoint"`
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"authorization_endpoint": more.Auth, "token_endpoint": more.Token, "jwks_uri": more.Keys, "userinfo_endpoint": more.Info} {
		if text == "" && name == "userinfo_endpoint" {
			continue
		}
		if u, err := url.Parse(text); err != nil || u.Host == "" || !secure(u) {
			return nil, fmt.Errorf("the provider's %s is %q, which is no https: URL", name, text)
		}
	}
	// oauth2 would try both ways, and a provider may end the code at the first one.
	style := oauth2.AuthStyleInHeader
	if s.opts.ClientSecret == "" || len(more.Methods) > 0 && !slices.Contains(more.Methods, "client_secret_basic") {
		style = oauth2.AuthStyleInParams
	}
	return &provider{Provider: p, style: style, read: time.Now()}, nil
}

// config returns the client of the provider.
func (s *Service) config(p *provider) *oauth2.Config {
	endpoint := p.Endpoint()
	endpoint.AuthStyle = p.style
	scopes := []string{oidc.ScopeOpenID}
	for _, scope := range s.opts.Scopes {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return &oauth2.Config{ClientID: s.opts.ClientID, ClientSecret: s.opts.ClientSecret, Endpoint: endpoint, RedirectURL: s.RedirectURL(), Scopes: scopes}
}

// secure reports whether requests to u cannot be read on the way.
func secure(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback())
}

// bounded returns a client that follows no redirects, which could carry a secret elsewhere, and that reads bounded
// answers in a bounded time.
func bounded(next http.RoundTripper) *http.Client {
	return &http.Client{Timeout: providerTimeout, Transport: limited{next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// limited is a transport whose answers end with an error after maxAnswer bytes.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = &limitedBody{response.Body, maxAnswer}
	}
	return response, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the provider's answer is too large")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// shown returns an error for the log, without the answer of the provider, which may repeat secrets.
func shown(err error) string {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		status := 0
		if refused.Response != nil {
			status = refused.Response.StatusCode
		}
		return fmt.Sprintf("the token endpoint answered %d %.64q", status, refused.ErrorCode)
	}
	return fmt.Sprintf("%.300s", err.Error())
}

// unreachable reports whether an error means that the provider did not answer as one.
func unreachable(err error) bool {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return refused.Response != nil && refused.Response.StatusCode >= http.StatusInternalServerError
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}
