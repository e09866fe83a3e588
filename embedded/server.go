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
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// readyEvery is how often a start asks whether all streams are back.
const readyEvery = 10 * time.Millisecond

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
	// Log takes the server's own lines: its notices at level debug.
	Log *slog.Logger
}

// Server is a NATS server that is up. All methods may be called from any goroutine.
type Server struct {
	ns     *natsserver.Server
	dir    *Dir
	log    *serverLog
	url    string
	admin  AdminContext
	secret string // of the users that are in process only, for this run only
	issuer nkeys.KeyPair

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
	// The cheapest refusals come first, and all of them before the server can
	// touch a file.
	if err := tryListen(ctx, o.Listen); err != nil {
		return nil, err
	}
	if err := o.Dir.claimMode(modeStandalone); err != nil {
		return nil, err
	}
	if err := checkStore(ctx, o.Dir.path, o.Sync, o.Log); err != nil {
		return nil, err
	}
	s := newServer(o)
	if s.admin, err = loadAdmin(o.Dir); err != nil {
		return nil, err
	}
	set := settings{name: o.Name, listen: o.Listen != "", host: host, port: port, storeDir: o.Dir.path, sync: o.Sync}
	if err := s.run(ctx, set); err != nil {
		return nil, err
	}
	watch, stop := context.WithCancel(context.Background())
	s.stop = stop
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

// run starts the server and waits until it is ready; after an error it is stopped.
func (s *Server) run(ctx context.Context, set settings) error {
	var err error
	if set.adminHash, err = hashSecret(s.admin.Password); err != nil {
		return err
	}
	if set.bridgeHash, err = hashSecret(s.secret); err != nil {
		return err
	}
	if s.issuer, set.issuer, err = newIssuer(); err != nil {
		return err
	}
	o, err := set.options()
	if err != nil {
		return err
	}
	if s.ns, err = natsserver.NewServer(o); err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	s.ns.SetLoggerV2(s.log, false, false, false)
	s.ns.Start()
	err = s.ready(ctx)
	if err == nil {
		s.url = clientURL(s.ns.Addr())
		s.admin.URL = s.url
		err = saveAdmin(s.dir, s.admin)
	}
	if err != nil {
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
	}
	return err
}

// ready waits until the server is healthy. nats-server returns from its start
// after a fatal error as if nothing had happened.
func (s *Server) ready(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		if err := s.log.err(); err != nil {
			return err
		}
		unhealthy := s.Healthy()
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
		nats.InProcessServer(s.ns),
		nats.FlusherTimeout(0), // a timer for each write, which within a process never waits for long
		nats.MaxReconnects(-1),
	}, opts...)
	nc, err := nats.Connect("", all...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the NATS server: %w", name, err)
	}
	return nc, nil
}

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
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
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
