// Package embedded runs a NATS server with JetStream inside the program: its
// data directory, its start and readiness, connections to it that never leave
// the process, and its end.
package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// readyEvery is how often a start asks whether all streams are back.
const readyEvery = 10 * time.Millisecond

// reconnectWait is the pause between reconnects of the program's own connections while the NATS server restarts.
const reconnectWait = 20 * time.Millisecond

// Options is what a server is started with.
type Options struct {
	// Dir is the locked data directory. The caller closes it, after Shutdown.
	Dir *Dir
	// Listen is the address of the door for NATS clients, host:port. Port 0 takes
	// any free one, "" opens no door.
	Listen string
	// Sync is how often written messages are forced to the disk; 0 does it before
	// every acknowledgement, so that what was acknowledged survives a power cut.
	Sync time.Duration
	// Name is the server's name; "imctl" when empty.
	Name string
	// Reserve is how many bytes of the disk are held in reserve until it is nearly full, see Disk. 0 means none.
	Reserve int64
	// Log receives the server's own lines, its notices at level debug.
	Log *slog.Logger
	// DiskLog receives the lines about the free disk space. Default: Log.
	DiskLog *slog.Logger
}

// Server is a NATS server that is up. All methods may be called from any goroutine.
type Server struct {
	ns     atomic.Pointer[natsserver.Server] // replaced by a restart
	dir    *Dir
	disk   *Disk
	log    *serverLog // of the running NATS server; only the watcher uses it once Start has returned
	set    settings
	url    string
	admin  AdminContext
	secret string // of the users that are in process only, for this run only
	issuer nkeys.KeyPair
	repair repair

	stop    context.CancelFunc
	watched chan struct{} // closed when the watcher has ended
	failed  chan error
}

// Start starts the server on the data directory and returns when every stream is
// back and clients can connect. Whatever stops it is an error that says in one line
// what: the address in use, the store damaged (ErrStoreDamaged), the directory of the
// other mode (ErrDirMode). After an error nothing runs and the directory stays locked.
func Start(ctx context.Context, o Options) (*Server, error) {
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = "imctl"
	}
	if o.DiskLog == nil {
		o.DiskLog = o.Log
	}
	// The cheapest refusals come first, and all of them before the server can
	// touch a file.
	if err := tryListen(ctx, o.Listen); err != nil {
		return nil, err
	}
	if err := o.Dir.claimMode(modeStandalone); err != nil {
		return nil, err
	}
	if err := checkStore(ctx, o.Dir, o.Sync, o.Log); err != nil {
		return nil, err
	}
	s := newServer(o)
	if s.disk, err = newDisk(o.Dir, o.Reserve, o.DiskLog); err != nil {
		return nil, err
	}
	if s.admin, err = loadAdmin(o.Dir); err != nil {
		return nil, err
	}
	s.set = settings{name: o.Name, listen: o.Listen != "", host: host, port: port, storeDir: o.Dir.path, sync: o.Sync}
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
	return s, nil
}

func newServer(o Options) *Server {
	return &Server{
		dir:     o.Dir,
		log:     newServerLog(o.Log),
		secret:  newSecret(),
		watched: make(chan struct{}),
		failed:  make(chan error, 1),
	}
}

// prepare makes the secrets of this process. A restart of the NATS server keeps them.
func (s *Server) prepare() (err error) {
	if s.set.adminHash, err = hashSecret(s.admin.Password); err != nil {
		return err
	}
	if s.set.bridgeHash, err = hashSecret(s.secret); err != nil {
		return err
	}
	s.issuer, s.set.issuer, err = newIssuer()
	return err
}

// run starts a NATS server and waits until it is ready. If run fails, the NATS server is stopped.
func (s *Server) run(ctx context.Context) (*natsserver.Server, error) {
	o, err := s.set.options()
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

// publish stores the server's address in the administrator's credentials. A restart keeps the address.
func (s *Server) publish() error {
	addr := s.ns.Load().Addr()
	if tcp, ok := addr.(*net.TCPAddr); ok {
		s.set.port = tcp.Port
	}
	s.url = clientURL(addr)
	s.admin.URL = s.url
	return saveAdmin(s.dir, s.admin)
}

// ready waits until the server is healthy. nats-server returns from its start
// after a fatal error as if nothing had happened.
func (s *Server) ready(ctx context.Context, ns *natsserver.Server) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		if err := s.log.err(); err != nil {
			return err
		}
		unhealthy := s.healthy(ns)
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

// Connect opens a connection for the program itself, as a user that nobody
// outside the process can be.
func (s *Server) Connect(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(name, bridgeUser, s.secret, opts)
}

// Admin opens a connection within the process as the administrator.
func (s *Server) Admin(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(name, s.admin.User, s.admin.Password, opts)
}

func (s *Server) connect(name, user, password string, opts []nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		nats.Name(name),
		nats.UserInfo(user, password),
		nats.InProcessServer(inProcess{s}),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(0, 0),
		nats.FlusherTimeout(0), // a timer for each write, which within a process never waits for long
		nats.MaxReconnects(-1),
	}, opts...)
	nc, err := nats.Connect("", all...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the NATS server: %w", name, err)
	}
	return nc, nil
}

// inProcess connects to the NATS server that is running at that time.
type inProcess struct{ s *Server }

func (p inProcess) InProcessConn() (net.Conn, error) { return p.s.ns.Load().InProcessConn() }

// Disk returns the watcher of the data directory's disk.
func (s *Server) Disk() *Disk { return s.disk }

// URL is where NATS clients connect to, with the real port; "" without a door.
func (s *Server) URL() string { return s.url }

// Shutdown stops the server and waits until its files are written and closed, or
// until ctx is done. Connections to it should be drained before.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-s.watched
		stop(s.ns.Load())
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("NATS server did not stop in time: %w", context.Cause(ctx))
	}
}

// clientURL names an address that a client on this machine can use; "" for none.
func clientURL(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}
