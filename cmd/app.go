package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"imctl/bridge"
	"imctl/bridge/admin"
	"imctl/bridge/certs"
	"imctl/bridge/cluster"
	"imctl/bridge/eventlog"
	"imctl/bridge/im"
	"imctl/bridge/limit"
	"imctl/bridge/mailer"
	"imctl/bridge/natsauth"
)

// App is a running server: backend, bridge, and the listeners in front of it.
type App struct {
	config   *Config
	log      *slog.Logger
	level    *slog.LevelVar
	backend  *backend
	bridge   *bridge.Bridge
	certs    *certs.Source
	registry *prometheus.Registry
	front    net.Listener
	ops      net.Listener // nil: none
	failed   chan error   // of a listener
	draining atomic.Bool
	stops    stops
}

// NewApp starts everything. When it returns, clients can connect; after an error nothing runs.
func NewApp(ctx context.Context, c *Config, log *slog.Logger, level *slog.LevelVar) (_ *App, err error) {
	a := &App{config: c, log: log, level: level, registry: prometheus.NewRegistry(), failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stops.run(log))
		}
	}()
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if a.backend, err = openBackend(ctx, c, log, log, c.NATS.Listen); err != nil {
		return nil, err
	}
	a.stops.add("backend", func(context.Context) error { return a.backend.stops.run(log) })
	a.backend.observeDisk(a.registry)
	// Listeners are opened first, so that an address in use fails the start before anything else is started.
	if err := a.listen(); err != nil {
		return nil, err
	}
	if err := a.startCerts(); err != nil {
		return nil, err
	}
	if err := a.startBridge(ctx); err != nil {
		return nil, err
	}
	if err := a.startAdmin(); err != nil {
		return nil, err
	}
	a.serveOps()
	a.serveFront()
	return a, nil
}

func (a *App) listen() (err error) {
	if a.front, err = net.Listen("tcp", a.config.Listen); err != nil {
		return cannotListen("listen", a.config.Listen, err)
	}
	a.stops.add("listener", func(context.Context) error { return closed(a.front.Close()) })
	if a.config.Ops.Listen == "" {
		return nil
	}
	if a.ops, err = net.Listen("tcp", a.config.Ops.Listen); err != nil {
		return cannotListen("ops.listen", a.config.Ops.Listen, err)
	}
	a.stops.add("operations listener", func(context.Context) error { return closed(a.ops.Close()) })
	return nil
}

// cannotListen names the setting and the address, once.
func cannotListen(setting, address string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: %s: %w", setting, address, err)
}

// closed is nil for a listener that its server has closed already.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (a *App) startCerts() (err error) {
	t := a.config.TLS
	a.certs, err = certs.New(certs.Options{Mode: t.Mode, Cert: t.Cert, Key: t.Key, Domains: t.Domains, Email: t.Email, Directory: t.Directory,
		Dir: a.backend.dir.Path("tls"), Listen: a.front.Addr().String(), Log: a.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.certs.Run(ctx) }()
	a.stops.add("certificates", func(context.Context) error { cancel(); <-done; return nil })
	return nil
}

func (a *App) startBridge(ctx context.Context) (err error) {
	c := a.config
	mailer, err := mailerOf(c)
	if err != nil {
		return err
	}
	callout, err := a.backend.callout(c, a.log)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		a.log.Warn("administrators will not see the name of this machine", "err", err)
	}
	a.bridge, err = bridge.New(ctx, bridge.Options{
		Connect:        a.backend.connect,
		Prefix:         c.NATS.Prefix,
		Logins:         loginsAtOnce(c),
		Host:           host,
		Version:        readBuildInfo().Version,
		Store:          a.backend.store,
		Hasher:         a.backend.hasher,
		Sessions:       bridge.Sessions{PerUser: c.Sessions.PerUser, Buffer: c.Sessions.Buffer, InFlight: c.Sessions.InFlight, MaxFrame: int64(c.Sessions.MaxFrame), Ping: c.Sessions.Ping, WriteTimeout: c.Sessions.WriteTimeout},
		Dialogues:      bridge.Dialogues{Timeout: c.Dialogues.Timeout},
		Limits:         limitsOf(c),
		EventLog:       a.backend.eventLog(c),
		Callout:        callout,
		ReadOnly:       a.backend.readOnly,
		Mailer:         mailer,
		Origins:        c.HTTP.Origins,
		TrustedProxies: prefixes(c.HTTP.TrustedProxies),
		Registry:       a.registry,
		Log:            a.log,
	})
	if err != nil {
		return err
	}
	a.stops.add("bridge", a.bridge.Shutdown)
	return nil
}

// loginsAtOnce is how many logins gather what they show at once: where NATS is elsewhere, they wait for the network more
// than for a processor. 0 leaves it to the bridge.
func loginsAtOnce(c *Config) int {
	if c.NATS.Embedded() {
		return 0
	}
	return 16 * runtime.GOMAXPROCS(0)
}

func (a *App) startAdmin() error {
	nc, err := a.backend.connect("imctl administration")
	if err != nil {
		return err
	}
	a.stops.add("administration's connection", func(context.Context) error { nc.Close(); return nil })
	s := a.bridge.Services()
	service, err := admin.Serve(nc, admin.Options{Prefix: a.config.NATS.Prefix, Accounts: s.Accounts, Friends: s.Friends, Attachments: s.Attachments,
		Store: a.backend.store, Live: live{s.Cluster, s.Accounts, s.Attachments}, Pass: a.bridge.Pass, Log: a.log})
	if err != nil {
		return err
	}
	a.stops.add("administration", service.Stop)
	return nil
}

// live is the admin.Live of a running server.
type live struct {
	*cluster.Cluster
	*im.Accounts
	*natsauth.Attachments
}

func (b *backend) eventLog(c *Config) eventlog.Options {
	l := c.NATS.Log
	return eventlog.Options{MaxAge: l.MaxAge, MaxBytes: int64(l.MaxBytes), Replicas: c.NATS.Replicas, OnError: eventlog.OnError(l.OnError),
		Plain:    c.NATS.Embedded() && c.NATS.Sync != SyncAlways,
		MayWrite: func() error { return b.mayWrite(false) }}
}

// mailerOf returns nil if no mail is sent.
func mailerOf(c *Config) (*mailer.Mailer, error) {
	if c.Mail.SMTP == "" {
		return nil, nil
	}
	m, err := mailer.New(c.Mail.SMTP, c.Mail.From)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return m, nil
}

func limitsOf(c *Config) bridge.Limits {
	rate := func(r Rate) limit.Rate { return limit.Rate{Events: r.Count, Per: r.Per} }
	l := c.Limits
	return bridge.Limits{Registrations: rate(l.Registrations), Logins: rate(l.Logins), LoginFailures: rate(l.LoginFailures),
		Dialogues: rate(l.Dialogues), Forgotten: rate(l.Forgotten), Picture: int(l.Picture)}
}

// prefixes reads addresses and networks that the configuration's check has let through.
func prefixes(list []string) (all []netip.Prefix) {
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			all = append(all, p)
		} else if a, err := netip.ParseAddr(s); err == nil {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return all
}

// serveFront serves the protocol and the page. A client has to be done with its request in good time; the WebSockets
// are taken out of the server's hands and have limits of their own.
func (a *App) serveFront() {
	s := &http.Server{
		Handler:           a.bridge.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	l := a.front
	if t := a.certs.TLSConfig(); t != nil {
		s.TLSConfig = t
		l = tls.NewListener(l, t)
	}
	go a.serve("listener", s, l)
	a.stops.add("HTTP server", func(ctx context.Context) error {
		a.draining.Store(true)
		// New sessions are refused and those that there are end while the calls under way come to theirs.
		drained := make(chan error, 1)
		go func() { drained <- a.bridge.Drain(ctx) }()
		return errors.Join(s.Shutdown(ctx), <-drained)
	})
}

func (a *App) serve(name string, s *http.Server, l net.Listener) {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		a.failed <- fmt.Errorf("%s: %w", name, err)
	}
}

// Run lets the server work until ctx is done or something fails for good, and reads the configuration again whenever
// reload delivers.
func (a *App) Run(ctx context.Context, reload <-chan *Config) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-a.failed:
			return err
		case err := <-a.backend.failed():
			return err
		case c := <-reload:
			a.Reload(ctx, c)
		}
	}
}

// Reload puts into force what can change while the server runs, and says what needs a restart.
func (a *App) Reload(ctx context.Context, c *Config) {
	if keys := a.config.Restart(c); len(keys) > 0 {
		a.log.Warn("these settings changed and take effect at the next start", "keys", strings.Join(keys, " "))
	}
	a.level.Set(c.Log.SlogLevel())
	a.bridge.SetLimits(limitsOf(c))
	a.bridge.SetOrigins(c.HTTP.Origins)
	a.backend.store.Rosters.SetLimits(c.Limits.Friends, c.Limits.Requests)
	if err := a.certs.Reload(ctx); err != nil {
		a.log.Error("the certificate stays as it was", "err", err)
	}
	a.log.Info("configuration read again", "file", c.File)
}

// Close ends everything in order.
func (a *App) Close() error { return a.stops.run(a.log) }

// URL is where the server is reached: scheme, host and port, without a path.
func (a *App) URL() string {
	scheme := "http"
	if a.certs.TLSConfig() != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(a.front.Addr())
}

// reachable names a listener's address in a way that a client on this machine can use.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
