// Package embedded runs a NATS server with JetStream inside the process. It locks the data directory, checks its
// files, starts the server and waits until it is ready, connects to it within the process, restarts it after a full
// disk, and shuts it down.
package embedded

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// readyEvery is how often a start checks whether all streams are recovered.
const readyEvery = 10 * time.Millisecond

// reconnectWait is the pause between reconnects of in-process connections while the NATS server restarts.
const reconnectWait = 20 * time.Millisecond

// connectTimeout is how long an in-process connection waits for the NATS server. A server that starts on a busy machine
// takes longer than the 2 s that nats.go waits by default.
const connectTimeout = 10 * time.Second

// Options configures a Server.
type Options struct {
	// Dir is the locked data directory. The caller closes it, after Shutdown.
	Dir *Dir
	// Listen is the address where the server accepts NATS clients, host:port. Port 0 means any free port, "" means
	// that only this process can connect.
	Listen string
	// TLS, if set, is required of clients that connect to Listen. In-process connections do not use it.
	TLS *tls.Config
	// CA is the file with the certificate that clients on this machine verify, "" without TLS.
	CA string
	// MaxConnections is how many connections the server accepts, those of this process included. 0 means the default of
	// nats-server.
	MaxConnections int
	// MaxPending is how many bytes may wait for a client that does not read, before its connection is closed. 0 means the
	// default of nats-server.
	MaxPending int64
	// Sync is how often written messages are synced to the disk. 0 means before each acknowledgement, so that
	// acknowledged messages survive a power failure.
	Sync time.Duration
	// Name is the server's name. Default: "imctl", or the name of the node in a cluster.
	Name string
	// Cluster, if set, makes the server a node of a cluster. Start then returns when the cluster has a leader and the node
	// has all that it stores.
	Cluster *Cluster
	// Reserve is how many bytes of the disk are held in reserve until it is nearly full, see Disk. 0 means none.
	Reserve int64
	// SkipDataCheck starts the NATS server without checking its files before. nats-server drops what it can't read.
	SkipDataCheck bool
	// Admin opens the socket of administrators in the data directory, see DialAdmin.
	Admin bool
	// Log receives the log of the NATS server. Its notices have level debug.
	Log *slog.Logger
	// DiskLog receives the lines about the free disk space. Default: Log.
	DiskLog *slog.Logger
}

// Server is a running NATS server. All methods may be called from any goroutine.
type Server struct {
	ns       atomic.Pointer[natsserver.Server] // replaced by a restart
	dir      *Dir
	disk     *Disk
	log      *serverLog               // of the running NATS server; only the watcher uses it once Start has returned
	clients  atomic.Pointer[repeated] // that of log, for any goroutine
	logger   *slog.Logger
	check    bool // whether the data is checked before the NATS server starts
	config   settings
	url      string
	admin    AdminContext
	operator AdminContext // of the system account
	secret   string       // password of the in-process users, new in each process
	issuer   nkeys.KeyPair
	repair   repair
	socket   *adminSocket // nil if it is not open

	// restarting is held for writing during a restart of the NATS server, and for reading while a connection is
	// opened, since a NATS server that is stopped closes the connection.
	restarting sync.RWMutex

	// leaderless is when the node noticed that its cluster has no leader, in nanoseconds since 1970; 0 while it has one.
	leaderless atomic.Int64

	ownConns ownConns

	stop    context.CancelFunc
	watched chan struct{} // closed when the watcher has ended
	failed  chan error
}

// Start starts the server on the data directory and returns when every stream is recovered and clients can connect.
// Its errors fit on one line: for example the address is in use, the store is damaged (ErrStoreDamaged), or the
// directory has another mode (ErrDirMode). After an error nothing runs, and the directory stays locked.
func Start(ctx context.Context, o Options) (*Server, error) {
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, err
	}
	if o.DiskLog == nil {
		o.DiskLog = o.Log
	}
	// The cheapest checks come first, and all of them before the NATS server can change a file.
	if err := tryListen(ctx, o.Listen, "NATS clients"); err != nil {
		return nil, err
	}
	if o.Cluster != nil {
		if err := tryListen(ctx, o.Cluster.Listen, "other nodes"); err != nil {
			return nil, err
		}
	}
	s := newServer(o)
	if err := s.claim(o); err != nil {
		return nil, err
	}
	if err := s.checkData(ctx); err != nil {
		return nil, err
	}
	if s.disk, err = newDisk(o.Dir, o.Reserve, o.DiskLog); err != nil {
		return nil, err
	}
	if s.admin, s.operator, err = loadContexts(o.Dir); err != nil {
		return nil, err
	}
	s.config.tls, s.admin.CA, s.operator.CA = o.TLS, o.CA, o.CA
	s.config.listen, s.config.host, s.config.port = o.Listen != "", host, port
	if err := s.prepare(); err != nil {
		return nil, err
	}
	ns, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	s.ns.Store(ns)
	if err := s.publish(); err != nil {
		stop(ns)
		return nil, err
	}
	watch, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go s.watch(watch)
	if o.Admin {
		s.openAdmin()
	}
	return s, nil
}

// claim claims the data directory for the mode of the server and for the node, and sets the server's name.
func (s *Server) claim(o Options) (err error) {
	s.config.name = cmp.Or(o.Name, "imctl")
	if o.Cluster == nil {
		return o.Dir.claimMode(modeStandalone)
	}
	if s.config.cluster, err = o.Cluster.settings(); err != nil {
		return err
	}
	if err := o.Dir.claimMode(modeCluster); err != nil {
		return err
	}
	if s.issuer, s.config.issuer, err = clusterIssuer(o.Cluster.Secret); err != nil {
		return err
	}
	s.config.name, err = o.Dir.claimNode(o.Cluster.Node)
	return err
}

func newServer(o Options) *Server {
	s := &Server{
		dir:     o.Dir,
		log:     newServerLog(o.Log),
		logger:  o.Log,
		check:   dataCheckEnabled(linkedVersion, o.SkipDataCheck, o.Log),
		config:  settings{dataDir: o.Dir.path, sync: o.Sync, maxConn: o.MaxConnections, maxPending: o.MaxPending},
		secret:  newSecret(),
		watched: make(chan struct{}),
		failed:  make(chan error, 1),
	}
	s.clients.Store(s.log.clients)
	return s
}

// checkData checks the files of JetStream, unless the check is off.
func (s *Server) checkData(ctx context.Context) error {
	if !s.check {
		return nil
	}
	return checkData(ctx, s.dir, s.config.sync, s.config.cluster != nil, s.logger)
}

// prepare makes the secrets of this process. A restart of the NATS server keeps them.
func (s *Server) prepare() (err error) {
	if s.config.adminHash, err = hashSecret(s.admin.Password); err != nil {
		return err
	}
	if s.config.operatorHash, err = hashSecret(s.operator.Password); err != nil {
		return err
	}
	if s.config.bridgeHash, err = hashSecret(s.secret); err != nil {
		return err
	}
	if s.issuer == nil {
		s.issuer, s.config.issuer, err = newIssuer()
	}
	return err
}

// run starts a NATS server and waits until it is ready. If run fails, the NATS server is stopped.
func (s *Server) run(ctx context.Context) (*natsserver.Server, error) {
	o, err := s.config.options()
	if err != nil {
		return nil, err
	}
	ns, err := natsserver.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	ns.SetLoggerV2(s.log, false, false, false)
	ns.Start()
	if err = s.ready(ctx, ns); err != nil {
		stop(ns)
	}
	return ns, err
}

func stop(ns *natsserver.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

// publish stores the server's address in the contexts of the data directory. A restart keeps the address.
func (s *Server) publish() error {
	if addr := s.ns.Load().Addr(); s.config.listen {
		if tcp, ok := addr.(*net.TCPAddr); ok {
			s.config.port = tcp.Port
		}
		s.url = clientURL(addr, s.config.tls != nil)
	}
	s.admin.URL, s.operator.URL = s.url, s.url
	if err := saveContext(s.dir, adminFile, s.admin); err != nil {
		return err
	}
	return saveContext(s.dir, systemFile, s.operator)
}

// ready waits until the NATS server is healthy. nats-server reports a fatal error of its start only in its log.
func (s *Server) ready(ctx context.Context, ns *natsserver.Server) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	waiting := time.Now()
	for {
		if err := s.log.err(); err != nil {
			return err
		}
		unhealthy := s.healthy(ns)
		if unhealthy != nil && s.config.cluster != nil && time.Since(waiting) > waitingEvery {
			s.logWaiting(ns, unhealthy)
			waiting = time.Now()
		}
		switch {
		case ctx.Err() != nil && unhealthy != nil:
			return fmt.Errorf("NATS server did not become ready: %w: %w", context.Cause(ctx), unhealthy)
		case ctx.Err() != nil:
			return fmt.Errorf("NATS server: start: %w", context.Cause(ctx))
		case unhealthy == nil:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Connect opens a connection within the process, as a user that can't log in from outside. It waits for a restart of
// the NATS server to end.
func (s *Server) Connect(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(name, bridgeUser, s.secret, opts)
}

func (s *Server) connect(name, user, password string, opts []nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		nats.Name(name),
		nats.UserInfo(user, password),
		nats.InProcessServer(inProcess{s}),
		nats.Timeout(connectTimeout),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(0, 0),
		nats.FlusherTimeout(0), // The default starts a timer for each write. A write within the process is short.
		nats.MaxReconnects(-1),
		nats.ErrorHandler(s.logConnectionError(name)),
	}, opts...)
	s.restarting.RLock()
	defer s.restarting.RUnlock()
	nc, err := nats.Connect("", all...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the NATS server: %w", name, err)
	}
	return nc, nil
}

// logConnectionError returns the error handler of a connection. The default handler of nats.go writes to standard
// error.
func (s *Server) logConnectionError(name string) nats.ErrHandler {
	return func(_ *nats.Conn, sub *nats.Subscription, err error) {
		level := slog.LevelError
		switch {
		case errors.Is(err, io.ErrClosedPipe):
			level = slog.LevelDebug // The NATS server has stopped. The connection reconnects to the next one.
		case errors.Is(err, nats.ErrSlowConsumer):
			level = slog.LevelInfo // The subscriber notices the gap: an ordered consumer, for instance, begins again.
		}
		attrs := []any{"connection", name, "err", err}
		if sub != nil {
			attrs = append(attrs, "subject", sub.Subject)
		}
		s.logger.Log(context.Background(), level, "NATS", attrs...)
	}
}

// inProcess connects to the current NATS server.
type inProcess struct{ s *Server }

// InProcessConn implements nats.InProcessConnProvider.
func (p inProcess) InProcessConn() (net.Conn, error) {
	c, err := p.s.ns.Load().InProcessConn()
	if err != nil {
		return nil, err
	}
	return p.s.ownConns.count(c), nil
}

// Disk returns the watcher of the data directory's disk.
func (s *Server) Disk() *Disk { return s.disk }

// URL returns the URL for NATS clients, with the actual port, or "" if the server does not listen.
func (s *Server) URL() string { return s.url }

// Shutdown stops the server and waits until its files are written and closed, or until ctx is done. The caller drains
// its connections first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closeAdmin(s.logger)
	s.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-s.watched
		s.handOver(ctx)
		stop(s.ns.Load())
		s.log.clients.close()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("NATS server did not stop in time: %w", context.Cause(ctx))
	}
}

// clientURL returns a URL that a client on this machine can use, or "" if a is not a TCP address.
func clientURL(a net.Addr, encrypted bool) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "nats://"
	if encrypted {
		scheme = "tls://" // a client then insists on TLS
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}
