package cmd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/semaphore"

	"imctl/bridge"
	"imctl/bridge/admin"
	"imctl/bridge/audit"
	"imctl/bridge/certs"
	"imctl/bridge/cluster"
	"imctl/bridge/eventlog"
	"imctl/bridge/governor"
	"imctl/bridge/hook"
	"imctl/bridge/identity"
	"imctl/bridge/im"
	"imctl/bridge/mailer"
	"imctl/bridge/natsauth"
	"imctl/bridge/webhook"
	"imctl/bridge/wire"
	"imctl/embedded"
	"imctl/kv"
)

// App is a running server: backend, bridge, and the listeners in front of it.
type App struct {
	config   *Config
	log      *slog.Logger
	level    *slog.LevelVar
	governor *governor.Governor
	hosts    *hosts
	backend  *backend
	bridge   *bridge.Bridge
	certs    *certs.Source
	registry *prometheus.Registry
	front    net.Listener
	ops      net.Listener // nil without an operations listener
	monitor  net.Listener // nil without nats.monitor
	failed   chan error   // errors of the listeners
	draining atomic.Bool
	started  atomic.Bool                                                // NewApp has returned
	system   func(name string, opts ...nats.Option) (*nats.Conn, error) // connects to the system account of NATS; may be nil
	backups  *scheduler
	tokens   *identity.Tokens // nil unless auth.modes has jwt
	stops    stops
}

// NewApp starts the server. When it returns, clients can connect. If it returns an error, it has stopped everything
// that it had started.
func NewApp(ctx context.Context, c *Config, log *slog.Logger, level *slog.LevelVar) (_ *App, err error) {
	if err := c.checkAuth(); err != nil {
		return nil, err
	}
	a := &App{config: c, log: log, level: level, registry: prometheus.NewRegistry(), failed: make(chan error, 3)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stops.run(log))
		}
	}()
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.governor = governor.New(limitsOf(c), a.registry, log)
	a.stops.add("limits", func(context.Context) error { a.governor.Close(); return nil })
	a.hosts = newHosts(c, a.governor.NoteHost, log)
	if a.backend, err = openBackend(ctx, c, newHasher(c, a.hashing()), log, log, clientListener{c.NATS.Listen, a.openCerts}); err != nil {
		return nil, err
	}
	a.stops.add("backend", func(context.Context) error { return a.backend.stops.run(log) })
	a.backend.observeDisk(a.registry)
	a.observe()
	if a.backend.link != nil {
		a.backend.link.Observe(a.registry)
	}
	// The listeners come before the bridge, so that an address in use fails the start early.
	if err := a.listen(); err != nil {
		return nil, err
	}
	a.runCerts()
	if err := a.startBridge(ctx); err != nil {
		return nil, err
	}
	if err := a.startAdmin(); err != nil {
		return nil, err
	}
	if err := a.watchRetention(); err != nil {
		return nil, err
	}
	if err := a.watchStreams(); err != nil {
		return nil, err
	}
	if err := a.startBackups(); err != nil {
		return nil, err
	}
	a.serveOps()
	a.serveMonitor()
	a.serveFront()
	a.started.Store(true)
	return a, nil
}

func (a *App) listen() (err error) {
	if a.front, err = a.open("listen", a.config.frontAddress(), "listener"); err != nil {
		return err
	}
	if address := a.config.opsAddress(); address != "" {
		if a.ops, err = a.open("ops.listen", address, "operations listener"); err != nil {
			return err
		}
	}
	if address := a.config.NATS.Monitor; address != "" && a.config.NATS.Embedded() {
		if a.monitor, err = net.Listen("tcp", address); err != nil {
			return listenError("nats.monitor", address, err)
		}
		a.stops.add("NATS monitoring listener", func(context.Context) error { return ignoreClosed(a.monitor.Close()) })
	}
	return nil
}

// listenError returns an error that names the setting and the address once. A net.OpError repeats the address.
func listenError(setting, address string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: %s: %w", setting, address, err)
}

// ignoreClosed returns nil for the error of a listener that its server has closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// openCerts loads or creates the certificates of all listeners, and returns those of the listener for NATS clients. It
// logs a warning for each listener that serves other machines without TLS.
func (a *App) openCerts(dir *embedded.Dir) (forNATS *tls.Config, ca string, err error) {
	t, listeners := a.config.TLS, a.config.listeners()
	var others []string
	for _, l := range listeners {
		if certs.Plain(t.Mode, l.address) {
			a.log.Warn("a listener serves other machines without TLS, since tls.mode is off", "setting", l.key, "listen", l.address)
		}
		if l.key != "listen" {
			others = append(others, l.address)
		}
	}
	a.certs, err = certs.New(certs.Options{Mode: t.Mode, Cert: t.Cert, Key: t.Key, Domains: t.Domains, Email: t.Email, Directory: t.Directory,
		Dir: dir.Path("tls"), Listen: bindAddress(a.config.frontAddress()), Others: others, Log: a.log})
	if err != nil || !a.config.NATS.Embedded() {
		return nil, "", err
	}
	if forNATS = a.certs.ListenerConfig(t.Mode, a.config.NATS.Listen); forNATS == nil {
		return nil, "", nil
	}
	ca, err = filepath.Abs(a.certs.CAFile())
	return forNATS, ca, err
}

// bindAddress returns the address that a listener binds, with the IP address of a host name. If the name cannot be
// resolved, it returns the address as it is, and the listener fails.
func bindAddress(listen string) string {
	if strings.HasPrefix(listen, unixPrefix) {
		return listen
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil || addr.IP == nil {
		return listen
	}
	return addr.String()
}

// runCerts keeps the certificates current. The front must be listening: an ACME authority connects to it.
func (a *App) runCerts() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.certs.Run(ctx) }()
	a.stops.add("certificates", func(context.Context) error { cancel(); <-done; return nil })
}

func (a *App) startBridge(ctx context.Context) (err error) {
	c := a.config
	mailer, err := newMailer(c)
	if err != nil {
		return err
	}
	callout, access, err := a.backend.callout(c, a.log)
	if err != nil {
		return err
	}
	if callout != nil {
		a.system = callout.System
	}
	if err := a.startTokens(); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		a.log.Warn("cannot read the host name; imctl status will not show it", "err", err)
	}
	node, ended := newNode(a.backend.dir, bootID(), a.log)
	signIn, err := a.bridgeOIDC()
	if err != nil {
		return err
	}
	a.bridge, err = bridge.New(ctx, bridge.Options{
		Node:           node,
		Ended:          ended,
		Connect:        a.backend.connect,
		Interest:       a.backend.interest,
		NATSClients:    a.backend.clients(),
		Load:           a.load,
		Moves:          a.backend.moves(),
		Prefix:         c.NATS.Prefix,
		Logins:         concurrentLogins(c),
		LoginBytes:     semaphore.NewWeighted(shareOf(memoryLimit(), loginBytes, loginsShare)),
		Host:           host,
		Version:        readBuildInfo().Version,
		ShowVersion:    c.HTTP.Version,
		Store:          a.backend.store,
		Hasher:         a.backend.hasher,
		Sessions:       bridge.Sessions{PerUser: c.Sessions.PerUser, Buffer: c.Sessions.Buffer, InFlight: c.Sessions.InFlight, MaxFrame: int64(c.Sessions.MaxFrame), Ping: c.Sessions.Ping, WriteTimeout: c.Sessions.WriteTimeout},
		Dialogues:      bridge.Dialogues{Timeout: c.Dialogues.Timeout, Keep: c.Dialogues.Keep > 0, Receipts: c.Dialogues.Receipts},
		Hooks:          hook.Options{Timeout: min(c.Hooks.Timeout, c.Dialogues.Timeout/2), OnError: hook.OnError(c.Hooks.OnError), Ask: c.Hooks.Ask},
		Files:          bridge.Files{Max: int64(c.Files.MaxSize), Quota: int64(c.Files.Quota), MaxBytes: int64(c.Files.MaxBytes)},
		Governor:       a.governor,
		EventLog:       a.backend.eventLog(c),
		LogIdle:        c.NATS.Log.Idle,
		GatewayUsers:   c.Limits.GatewayUsers,
		Audit:          a.backend.audit(c),
		Callout:        callout,
		Access:         access,
		ReadOnly:       a.backend.readOnly,
		Mailer:         mailer,
		Registration:   im.Registration(c.Registration),
		Identity:       bridge.Identity{Modes: c.Auth.Modes, Tokens: a.tokens, Timeout: c.Auth.NATS.Timeout, MaxAge: c.Auth.MaxAge},
		Push:           bridge.Push{Subject: c.Push.Subject, Private: c.Push.Private, MaxAge: c.Tokens.MaxAge},
		Webhooks:       webhooks(c),
		AccountsShown:  im.AccountsShown(c.People.Accounts),
		OIDC:           signIn,
		Origins:        c.HTTP.pages(),
		TrustedProxies: prefixes(c.HTTP.TrustedProxies),
		Registry:       a.registry,
		Log:            a.log,
	})
	if err != nil {
		return err
	}
	a.stops.add("bridge", a.stopBridge)
	return nil
}

// stopBridge shuts the bridge down. If the whole cluster stops, the last nodes cannot write that they have ended. The
// next start finds that out.
func (a *App) stopBridge(ctx context.Context) error {
	err := a.bridge.Shutdown(ctx)
	if err != nil && a.config.clustered() && kv.Transient(err) {
		a.log.Warn("stopping without the other nodes of the cluster", "err", err)
		return nil
	}
	return err
}

// concurrentLogins returns how many logins may load the user's data at the same time. With an attached NATS server,
// logins wait for the network more than for a processor, so more of them may run. 0 means the default of the bridge.
func concurrentLogins(c *Config) int {
	if c.NATS.Embedded() {
		return 0
	}
	return 16 * runtime.GOMAXPROCS(0)
}

// loginBytes bounds the bytes of large answers to logins that are written in parts.
const loginBytes = 64 * MiB

// hashWait is how long a login may wait for the hash of its password. After a restart, everybody's is hashed.
const hashWait = 25 * time.Second

// hashing returns the queue for the hashes of passwords.
func (a *App) hashing() *governor.Queue {
	limit := memoryLimit()
	places := hashingPlaces(limit, int64(hashCostOf(limit, a.config).memory))
	return governor.NewQueue(governor.QueueOptions{Places: places, Wait: hashWait, Busy: kv.ErrBusy, Refused: a.governor.NoteBusy})
}

// isLocal reports whether an address is a loopback address, or that of a Unix socket.
func isLocal(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback() || addr.Network() == "unix"
}

// isProxy reports whether an address is that of a trusted proxy.
func (a *App) isProxy(addr net.Addr) bool {
	return governor.Trusted(addr.String(), prefixes(a.config.HTTP.TrustedProxies))
}

func (a *App) startAdmin() error {
	nc, err := a.backend.connect("imctl administration")
	if err != nil {
		return err
	}
	a.stops.add("connection of the admin service", func(context.Context) error { nc.Close(); return nil })
	servers, err := a.connectSystem()
	if err != nil {
		return err
	}
	s := a.bridge.Services()
	service, err := admin.Serve(nc, admin.Options{Prefix: a.config.NATS.Prefix, Accounts: s.Accounts, Friends: s.Friends, Attachments: s.Attachments, Webhooks: s.Webhooks,
		Store: a.backend.store, Live: live{s.Cluster, s.Accounts, s.Attachments}, Cluster: servers, Pass: a.bridge.Pass, Audit: a.bridge.Audit(), ReadDialogues: a.config.Admin.ReadDialogues, URL: a.publicURL(), Log: a.log})
	if err != nil {
		return err
	}
	a.stops.add("admin service", service.Stop)
	return nil
}

// connectSystem returns what the administration does in the system account of NATS, nil without a user there.
func (a *App) connectSystem() (admin.Cluster, error) {
	if a.system == nil {
		return nil, nil
	}
	nc, err := a.system("imctl cluster")
	if err != nil {
		return nil, err
	}
	a.stops.add("connection to the system account", func(context.Context) error { nc.Close(); return nil })
	return admin.NATSCluster{System: nc}, nil
}

// live is the admin.Live of a running server.
type live struct {
	*cluster.Cluster
	*im.Accounts
	*natsauth.Attachments
}

func (b *backend) eventLog(c *Config) eventlog.Options {
	l := c.NATS.Log
	return eventlog.Options{MaxAge: l.MaxAge, MaxBytes: int64(l.MaxBytes), Replicas: c.NATS.replicas(), OnError: eventlog.OnError(l.OnError),
		Plain:    c.NATS.Embedded() && c.NATS.Sync != SyncAlways,
		MayWrite: func() error { return b.mayWrite(false) }}
}

func (b *backend) audit(c *Config) audit.Options {
	o := c.NATS.Audit
	return audit.Options{MaxAge: o.MaxAge, MaxBytes: int64(o.MaxBytes), Replicas: c.NATS.replicas(),
		MayWrite: func() error { return b.mayWrite(false) }}
}

// webhooks returns the settings of webhooks.
func webhooks(c *Config) webhook.Settings {
	w := c.Webhooks
	return webhook.Settings{Private: w.Private, MaxAge: w.MaxAge, Limits: webhook.Limits{MaxEvents: int64(w.MaxEvents), MaxBytes: int64(w.MaxBytes), FailedAge: w.FailedAge,
		Timeout: w.Timeout, Replicas: c.NATS.replicas()}}
}

// newMailer returns the configured mailer, or nil without mail.smtp.
func newMailer(c *Config) (*mailer.Mailer, error) {
	if c.Mail.SMTP == "" {
		return nil, nil
	}
	m, err := mailer.New(c.Mail.SMTP, c.Mail.From)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return m, nil
}

func limitsOf(c *Config) governor.Options {
	rate := func(r Rate) governor.Rate { return governor.Rate{Events: r.Count, Per: r.Per} }
	l := c.Limits
	connections, memory := c.connections(), memoryLimit()
	return governor.Options{Registrations: rate(l.Registrations), Logins: rate(l.Logins), LoginFailures: rate(l.LoginFailures),
		Dialogues: rate(l.Dialogues), Forgotten: rate(l.Forgotten), Refusals: rate(l.Refusals), AddressCalls: rate(l.HTTP), Calls: rate(l.Calls),
		Searches: rate(l.Searches), FriendChanges: rate(l.FriendChanges), Updates: rate(l.Updates), Passwords: rate(l.Passwords),
		Reports: rate(l.Reports), History: rate(l.History), GatewayDialogues: rate(l.GatewayDialogues), GatewayCalls: rate(l.GatewayCalls), ProgramCalls: rate(l.ProgramCalls), Picture: int(l.Picture), Bodies: shareOf(memory, l.Uploads, bodiesShare), Waiting: shareOf(memory, l.Waiting, waitingShare),
		Connections: connections, Guests: min(connections/2, maxGuests), AddressConnections: cmp.Or(l.ConnectionsPerAddress, connections/2)}
}

// prefixes parses addresses and networks. It ignores invalid entries, which Load has already rejected.
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

// serveFront serves the protocol and the page. The timeouts apply to HTTP requests. WebSockets are hijacked connections
// and have their own limits.
func (a *App) serveFront() {
	s := &http.Server{
		Handler:           a.hosts.guard(a.front.Addr(), a.bridge.Handler()),
		ConnState:         a.governor.ConnState,
		ConnContext:       a.governor.ConnContext,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    wire.MaxHeader,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	l := a.governor.Listen(a.front, a.isProxy)
	if t := a.certs.TLSConfig(); t != nil {
		s.TLSConfig = t
		l = tls.NewListener(l, t)
	}
	go a.serve("listener", s, l)
	a.stops.add("HTTP server", func(ctx context.Context) error {
		a.draining.Store(true)
		// Refuse new sessions and end the existing ones while the server waits for the requests in progress.
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

// Run blocks until ctx is done or a part of the server fails permanently. It returns nil in the first case. It applies
// each configuration that reload delivers.
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
			notifySystemd(a.log, daemon.SdNotifyReady)
		}
	}
}

// Reload applies the settings that can change in a running server, and logs the keys that need a restart.
func (a *App) Reload(ctx context.Context, c *Config) {
	if keys := a.config.Restart(c); len(keys) > 0 {
		a.log.Warn("changed settings take effect after a restart", "keys", strings.Join(keys, " "))
	}
	a.level.Set(c.Log.SlogLevel())
	a.governor.Set(limitsOf(c))
	a.hosts.set(c)
	a.bridge.SetOrigins(c.HTTP.pages())
	a.bridge.Services().Accounts.SetRegistration(im.Registration(c.Registration))
	a.bridge.Services().Friends.SetAccountsShown(im.AccountsShown(c.People.Accounts))
	a.backend.store.Rosters.SetLimits(c.Limits.Friends, c.Limits.Requests, c.Limits.Cooldown)
	a.backups.set(c)
	a.reloadTokens(c)
	if err := a.certs.Reload(ctx); err != nil {
		a.log.Error("certificate reload failed; the old certificate stays in use", "err", err)
	}
	a.bridge.Audit().Add(audit.Event{Event: audit.ServerReloaded, Actor: audit.Ref{Kind: audit.Server}})
	a.log.Info("configuration reloaded", "file", c.File)
}

// Close shuts the server down gracefully.
func (a *App) Close() error { return a.stops.run(a.log) }

// URL returns the address of the server: scheme, host and port, without a path, or unix: and the path of the socket.
func (a *App) URL() string {
	if a.front.Addr().Network() == "unix" {
		return addressOf(a.front)
	}
	scheme := "http"
	if a.certs.TLSConfig() != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(a.front.Addr())
}

// publicURL returns the address of the server as clients reach it, as far as the configuration tells.
func (a *App) publicURL() string {
	if own := a.config.HTTP.URL; own != "" {
		return strings.TrimSuffix(own, "/")
	}
	if domains := a.config.TLS.Domains; a.certs.TLSConfig() != nil && len(domains) > 0 {
		if _, port, err := net.SplitHostPort(a.front.Addr().String()); err == nil && port != "443" {
			return "https://" + net.JoinHostPort(domains[0], port)
		}
		return "https://" + domains[0]
	}
	return a.URL()
}

// reachable returns host and port of a listener for a client on this machine. It replaces an unspecified address with
// localhost.
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
