// Package oidc signs users of the page in at an OpenID Connect provider: the authorization code flow with PKCE. The
// state of a sign-in is in a sealed cookie of the browser, so any node may continue what another one began.
package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"imctl/bridge/wire"
)

// Paths of the requests that Handler serves.
const (
	Path         = "/im/oidc/"
	startPath    = Path + "start"
	callbackPath = Path + "callback"
	sessionPath  = Path + "session"
)

const (
	// stateLife is how long a user may take at the provider.
	stateLife = 15 * time.Minute
	// providerTimeout bounds the requests to the provider for one sign-in.
	providerTimeout = 15 * time.Second
	// maxExchanges is how many sign-ins may ask the provider at the same time.
	maxExchanges = 32
	// maxQuery is the bytes of the largest query that a provider may send a browser back with.
	maxQuery = 8 << 10
)

// Claims are what a provider tells of a user.
type Claims struct {
	Subject string // the user's id at the provider, which never changes
	Account string // by Options.AccountClaim
	Name    string // "": unknown
	Mail    string // verified; "": unknown
}

// Errors of Options.SignIn that the page explains to the user. All others are the server's own faults.
var (
	// ErrAccount: the account is not valid, or belongs to another user.
	ErrAccount = errors.New("the account cannot be used")
	// ErrDisabled: the account is disabled.
	ErrDisabled = errors.New("the account is disabled")
)

// Options configure a Service.
type Options struct {
	Issuer       string
	ClientID     string
	ClientSecret string   // "": a public client
	Scopes       []string // besides openid
	AccountClaim string
	Label        string // of the provider, for users
	URL          string // of the server as browsers reach it, without a slash at its end

	// Key returns the key with which all nodes seal cookies, which has 32 bytes.
	Key func(context.Context) ([]byte, error)
	// Spend notes that a sign-in is completed. Errors: kv.ErrSpent if the sign-in was completed before.
	Spend func(ctx context.Context, id string, life time.Duration) error
	// RootCAs verify the provider; nil: those of the system.
	RootCAs *x509.CertPool
	// SignIn finds or creates the user of these claims of a client with an address, and returns the user's id. Errors:
	// ErrAccount, ErrDisabled.
	SignIn func(ctx context.Context, c Claims, address string) (user string, err error)
	// Ticket returns a ticket for a login of a user.
	Ticket func(user, address string) (wire.Ticket, error)

	// Address returns the address of the client of a request.
	Address func(*http.Request) string
	// Allow counts a sign-in of an address. An error refuses it.
	Allow func(address string) error
	// Failed is told of a sign-in that the browser did not begin, or whose code or token is wrong. It may hold the answer
	// back.
	Failed func(ctx context.Context, address string)
	// Counted is called with the outcome of each sign-in: one of Outcomes.
	Counted func(outcome string)
	// Allowed reports whether the page that sent a request may call.
	Allowed func(*http.Request) bool
	// Away reports whether NATS is unreachable.
	Away func() bool
	Log  *slog.Logger
}

// Service signs users in.
type Service struct {
	opts      Options
	base      *url.URL
	client    *http.Client
	discover  singleflight.Group
	provider  known
	exchanges chan struct{} // a semaphore
}

// New returns a service. It does not ask the provider yet. Errors: a URL that is malformed.
func New(o Options) (*Service, error) {
	base, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if err := CheckIssuer(o.Issuer); err != nil {
		return nil, err
	}
	transport := http.RoundTripper(http.DefaultTransport)
	if o.RootCAs != nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.TLSClientConfig = &tls.Config{RootCAs: o.RootCAs}
		transport = own
	}
	return &Service{opts: o, base: base, client: bounded(transport), exchanges: make(chan struct{}, maxExchanges)}, nil
}

// Label returns the name of the provider for users.
func (s *Service) Label() string { return s.opts.Label }

// RedirectURL returns the address that the provider sends browsers back to, and that it must know.
func (s *Service) RedirectURL() string { return s.opts.URL + callbackPath }

// CheckIssuer returns an error for a URL that cannot be that of a provider. Without TLS only a provider on a loopback
// address is accepted.
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Contains(issuer, "#") || !secure(u) {
		return errors.New("must be an https: URL without a query, such as https://id.example.org/realms/staff; http: only for a loopback address")
	}
	return nil
}

// Handler serves everything below Path.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+startPath, s.serveStart)
	mux.HandleFunc("GET "+callbackPath, s.serveCallback)
	mux.HandleFunc("POST "+sessionPath, s.serveSession)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if s.opts.Away() {
			s.away(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
