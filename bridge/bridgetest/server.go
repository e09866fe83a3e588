// Package bridgetest starts a bridge on an embedded NATS server, for tests of the packages below bridge. Only tests
// import it.
package bridgetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge"
	"imctl/bridge/eventlog"
	"imctl/bridge/governor"
	"imctl/bridge/natsauth"
	"imctl/bridge/natstest"
	"imctl/embedded"
	"imctl/kv"
)

// WaitTimeout is how long a test waits for an expected event. It is long, since machines may be busy. A passing test
// never waits that long.
const WaitTimeout = 30 * time.Second

// Options configure a Server. The zero value has no rate limits.
type Options struct {
	Dir         string        // data directory; "": a new one
	TokenTTL    time.Duration // 0: a day
	TokenMaxAge time.Duration // 0: no limit
	Limits      governor.Options
	Hasher      kv.HasherOptions // the zero value: cheap hashes
	// BeforeBridge, if set, is called when NATS takes clients and the bridge does not answer their logins yet.
	BeforeBridge func(*Server)
	// Connections is the limit of the connections of one user; 0: none.
	Connections int
	// ConnectionsPage is how many connections the server reads at once from NATS; 0: as many as it usually does.
	ConnectionsPage int
	// Identity says who checks passwords.
	Identity bridge.Identity
	// GatewayLease and GatewayUsers are those of bridge.Options.
	GatewayLease time.Duration
	GatewayUsers int
	// AsksSystem makes the bridge ask NATS's system account for figures of connections, as on an attached NATS server.
	AsksSystem bool
}

// Server is a bridge on an embedded NATS server that accepts NATS clients.
type Server struct {
	*bridge.Services
	Store *kv.Store
	NATS  *embedded.Server
	NC    *nats.Conn // a connection that may use all subjects
	URL   string     // of the HTTP server

	bridge   *bridge.Bridge
	log      *natstest.Log
	governor *governor.Governor
	registry *prometheus.Registry
	stops    []func(context.Context) error

	mu      sync.Mutex // guards secrets
	secrets []string
}

// Start starts a server and stops it at the end of the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{log: new(natstest.Log), registry: prometheus.NewRegistry()}
	if o.Dir == "" { // before the clean-up that stops the server: the last one runs first, and a server writes until it stops
		o.Dir = filepath.Join(t.TempDir(), "data")
	}
	t.Cleanup(func() { s.Stop(t) })
	if err := s.start(t, o); err != nil {
		t.Fatalf("start: %v", err)
	}
	return s
}

func (s *Server) start(t testing.TB, o Options) error {
	ctx, cancel := context.WithTimeout(t.Context(), WaitTimeout)
	defer cancel()
	if o.Limits.Picture == 0 {
		o.Limits.Picture = 64 << 10
	}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if err := s.openStore(ctx, o, log); err != nil {
		return err
	}
	if o.Hasher.MemoryKiB == 0 {
		o.Hasher = kv.HasherOptions{MemoryKiB: 64, Passes: 1}
	}
	if o.BeforeBridge != nil {
		o.BeforeBridge(s)
	}
	access := natsauth.Access{Account: embedded.Account, ConsumerAccount: embedded.ConsumerAccount, Reserved: embedded.StaticUsers(), URL: s.NATS.URL(), Page: o.ConnectionsPage}
	s.governor = governor.New(o.Limits, s.registry, log)
	s.stops = append(s.stops, func(context.Context) error { s.governor.Close(); return nil })
	callout := &natsauth.CalloutOptions{Connect: s.NATS.Callout, System: s.NATS.System, Issuer: s.NATS.Issuer(), Access: access, PutOff: s.NATS.PutOff,
		Limits: natsauth.ClientLimits{Connections: o.Connections, Subscriptions: natsauth.DefaultSubscriptions, Pending: natsauth.DefaultPending}}
	if !o.AsksSystem {
		callout.Subscriptions, callout.Clients, callout.Connections = s.NATS.Subscriptions, s.NATS.Clients, s.NATS.Connections
	}
	b, err := bridge.New(ctx, bridge.Options{
		Connect:   s.NATS.Connect,
		Prefix:    "im",
		Store:     s.Store,
		Hasher:    kv.NewHasher(o.Hasher),
		Sessions:  bridge.Sessions{PerUser: 8, Buffer: 64, InFlight: 256, MaxFrame: 64 << 10, Ping: time.Minute, WriteTimeout: 10 * time.Second},
		Dialogues: bridge.Dialogues{Timeout: 5 * time.Second},
		Governor:  s.governor,
		EventLog:  eventlog.Options{Plain: true},
		Callout:   callout,
		Identity:  o.Identity,

		GatewayLease: o.GatewayLease,
		GatewayUsers: o.GatewayUsers,

		Registry: s.registry,
		Log:      log,
	})
	if err != nil {
		return err
	}
	s.bridge, s.Services = b, b.Services()
	s.stops = append(s.stops, b.Shutdown)
	front := httptest.NewServer(b.Handler())
	s.URL = front.URL
	s.stops = append(s.stops, func(ctx context.Context) error {
		err := b.Drain(ctx)
		front.Close()
		return err
	})
	return nil
}

// openStore starts NATS on the data directory and opens the buckets.
func (s *Server) openStore(ctx context.Context, o Options, log *slog.Logger) error {
	dir, err := embedded.OpenDir(o.Dir)
	if err != nil {
		return err
	}
	s.stops = append(s.stops, func(context.Context) error { return dir.Close() })
	// The data need not survive power loss.
	if s.NATS, err = embedded.Start(ctx, embedded.Options{Dir: dir, Listen: "127.0.0.1:0", Sync: time.Minute, Log: log}); err != nil {
		return err
	}
	s.stops = append(s.stops, s.NATS.Shutdown)
	if s.NC, err = s.NATS.Connect("test"); err != nil {
		return err
	}
	s.stops = append(s.stops, func(context.Context) error { s.NC.Close(); return nil })
	s.Store, err = kv.Open(ctx, s.NC, kv.Options{TokenTTL: o.TokenTTL, TokenMaxAge: o.TokenMaxAge, Log: log})
	return err
}

// Stop shuts the server down gracefully. It fails the test if the server has logged an error, or if the log or the
// metrics contain a secret. It prints the log of a test that has failed.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.stops == nil {
		return
	}
	s.checkNoSecrets(t)
	ctx, cancel := context.WithTimeout(context.Background(), WaitTimeout)
	defer cancel()
	var failed []error
	for i := len(s.stops) - 1; i >= 0; i-- {
		failed = append(failed, s.stops[i](ctx))
	}
	s.stops = nil
	if err := errors.Join(failed...); err != nil {
		t.Errorf("stop: %v", err)
	}
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			t.Errorf("the server logged: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("log of the server:\n%s", s.Log())
	}
}

// SetLimits changes the limits.
func (s *Server) SetLimits(l governor.Options) { s.governor.Set(l) }

// Log returns everything that the server has logged.
func (s *Server) Log() string { return s.log.String() }

// Secret adds a secret that must not appear in the log or the metrics.
func (s *Server) Secret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = append(s.secrets, secret)
}

// secretPattern matches traces of secrets: query strings of logins, and hashes of passwords.
var secretPattern = regexp.MustCompile(`(?i)password=|token=|account=|%3d|argon2|"password"`)

func (s *Server) checkNoSecrets(t testing.TB) {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Error(err)
	}
	output := s.Log()
	if !strings.Contains(output, "level=DEBUG") || len(families) == 0 {
		t.Error("no debug log or no metrics to check for secrets")
	}
	output += fmt.Sprint(families)
	if found := secretPattern.FindString(output); found != "" {
		t.Errorf("%s is in the log or the metrics:\n%s", found, output)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.secrets {
		if strings.Contains(output, secret) {
			t.Errorf("the secret %q is in the log or the metrics:\n%s", secret, output)
		}
	}
}
