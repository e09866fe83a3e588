package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/embedded"
)

const (
	// connectTimeout limits the time to connect to a server.
	connectTimeout = 5 * time.Second
	// connectInterval is the time between two attempts.
	connectInterval = 100 * time.Millisecond
)

// addServerFlags adds the flags that name the server that a command administers.
func addServerFlags(c *cobra.Command) {
	addSettingFlags(c.Flags(), "data", "nats.url", "nats.creds", "nats.context")
}

// withAdmin connects to the admin service of the server, calls do, and disconnects.
func withAdmin(c *cobra.Command, env *Env, do func(context.Context, *admin.Client) error) error {
	return withServer(c, env, func(ctx context.Context, s *adminConn) error { return do(ctx, s.Client) })
}

// adminConn is a connection to the admin service of a server, and to its NATS.
type adminConn struct {
	*admin.Client
	nc     *nats.Conn
	config *Config
}

// withServer is withAdmin for commands that also need the NATS connection and the configuration.
func withServer(c *cobra.Command, env *Env, do func(context.Context, *adminConn) error) error {
	return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
		s := &adminConn{admin.NewClient(nc, config.NATS.Prefix), nc, config}
		if !config.NATS.Embedded() { // an attached NATS server may have no imctl server
			if err := s.Ping(ctx); err != nil {
				return fmt.Errorf("%s: %w", serverName(config.NATS), err)
			}
		}
		return do(ctx, s)
	})
}

// withNATS connects to the NATS of the server, calls do, and disconnects.
func withNATS(c *cobra.Command, env *Env, do func(context.Context, *nats.Conn, *Config) error) (err error) {
	config, err := loadConfig(env, c.Flags())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	d := dialer{env: env, config: config, cancel: cancel, timeout: connectTimeout, creates: c.Annotations[createsData] != ""}
	nc, disconnect, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disconnect()) }()
	if err = do(ctx, nc, config); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// dialer connects to the server that a command administers.
type dialer struct {
	env    *Env
	config *Config
	// cancel ends the command if the server denies a request, since NATS never answers such a request.
	cancel context.CancelCauseFunc
	// timeout is how long to wait for a locked data directory, until its server has started or the other command has
	// ended.
	timeout time.Duration
	// creates lets the command make the data directory.
	creates bool
}

// createsData is the annotation of a command that may make the data directory. All other commands need that of a server.
const createsData = "imctl_creates_data"

// mayCreate marks a command that may make the data directory.
func mayCreate(c *cobra.Command) { c.Annotations = map[string]string{createsData: "yes"} }

// dial connects to the configured NATS server or to the server that runs on the data directory. If no server is
// running, dial opens the data directory.
func (d *dialer) dial(ctx context.Context) (nc *nats.Conn, disconnect func() error, err error) {
	c := d.config.NATS
	if c.Embedded() {
		return d.openDataDir(ctx)
	}
	if nc, err = dialNATS(c, d.connectOptions()...); err != nil {
		return nil, nil, dialFailure(c, err, exitNoServer)
	}
	return nc, func() error { nc.Close(); return nil }, nil
}

func (d *dialer) connectOptions() []nats.Option {
	return []nats.Option{
		nats.Name("imctl command line"),
		nats.Timeout(connectTimeout),
		nats.NoReconnect(),
		// Without a handler the library prints errors to standard error.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				d.cancel(errors.New("these credentials do not have administrator permissions"))
			}
		}),
	}
}

// noServerRemedy is the remedy if no server was found.
const noServerRemedy = "start a server with imctl serve, or select one with --data, --config, --nats or --context"

// openDataDir connects to the server that runs on the data directory, or opens the directory if no server is running.
// A server may start or stop at any moment, so openDataDir tries both until the timeout.
func (d *dialer) openDataDir(ctx context.Context) (*nats.Conn, func() error, error) {
	deadline := time.NewTimer(d.timeout)
	defer deadline.Stop()
	tick := time.NewTicker(connectInterval)
	defer tick.Stop()
	for {
		nc, err := d.dialSocket(ctx)
		if err == nil {
			return nc, func() error { nc.Close(); return nil }, nil
		} else if errors.Is(err, fs.ErrPermission) {
			return nil, nil, dirFailure(d.config.Data, exitNoServer, err)
		}
		nc, disconnect, err := d.openStopped(ctx)
		if err == nil {
			return nc, disconnect, nil
		}
		if !errors.Is(err, embedded.ErrDirInUse) {
			return nil, nil, dirFailure(d.config.Data, exitNoServer, err)
		}
		nc, reason := d.dialDataDir(ctx)
		if reason == nil {
			return nc, func() error { nc.Close(); return nil }, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-deadline.C:
			return nil, nil, &failure{code: exitNoServer, err: fmt.Errorf("%w, but its server does not answer: %w", err, reason)}
		case <-tick.C:
		}
	}
}

// openStopped opens the data directory. The error is embedded.ErrDirInUse if a server or another command has locked it.
func (d *dialer) openStopped(ctx context.Context) (*nats.Conn, func() error, error) {
	data := d.config.Data
	_, err := asOwner(data, func() (struct{}, error) { return struct{}{}, d.checkStopped() })
	if err != nil {
		return nil, nil, err
	}
	if owner, ok := embedded.OtherOwner(data); ok {
		return d.openAsOwner(ctx, owner)
	}
	local, err := openLocal(ctx, d.env, d.config)
	if err != nil {
		return nil, nil, err
	}
	return local.nc, local.close, nil
}

// checkStopped returns an error if the command may not open the data directory.
func (d *dialer) checkStopped() error {
	if !d.creates {
		if err := findDir(d.config.Data); err != nil {
			return err
		}
	}
	if node, err := d.config.isNode(); err != nil || !node {
		return err
	}
	return cmp.Or(embedded.CheckUnlocked(d.config.Data), nodeFailure(d.config))
}

// asOwner calls do. A process of root acts as the owner of the data directory meanwhile: by names in the directory, such
// as links, its owner could otherwise make root use files and sockets of others.
func asOwner[T any](data string, do func() (T, error)) (result T, err error) {
	back, err := embedded.AsOwner(data)
	if err != nil {
		return result, err
	}
	result, err = do()
	if failed := back(); failed != nil {
		return result, errors.Join(err, failed)
	}
	return result, err
}

// findDir returns a failure if no server has run in the data directory.
func findDir(data string) error {
	err := embedded.FindDir(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("no server found: data directory %s does not exist", data)
	case errors.Is(err, embedded.ErrNoServerFiles):
		err = fmt.Errorf("no server found: %w", err)
	default:
		return err
	}
	return &failure{exitNoServer, err, noServerRemedy}
}

// dirFailure adds the remedy to an error of the data directory: which user to be, or which files have another owner.
// code is the exit code if this user can't use the directory.
func dirFailure(data string, code int, err error) error {
	owner, known := embedded.DirOwner(data)
	data = absolute(data)
	switch {
	case errors.Is(err, embedded.ErrDirForeign):
		return &failure{exitUse, err, "name an empty directory with --data"}
	case errors.Is(err, embedded.ErrDirOwner):
		return &failure{code, err, fmt.Sprintf("run the command as that user: sudo -u %s imctl ..., or give root the directory: chown -R root %s", owner, data)}
	case !known || !deniedIn(data, err):
		return err
	case owner.UID == os.Geteuid():
		return &failure{exitFailed, err, fmt.Sprintf("give %s the files of the directory: chown -R %s %s", owner, owner, data)}
	case owner.UID == 0:
		return &failure{code, fmt.Errorf("data directory %s belongs to root", data), "run the command as that user: sudo imctl ..."}
	}
	return &failure{code, fmt.Errorf("data directory %s belongs to %s", data, owner), fmt.Sprintf("run the command as that user: sudo -u %s imctl ...", owner)}
}

// deniedIn reports whether the system has denied access to a file or a socket of the directory.
func deniedIn(data string, err error) bool {
	if !errors.Is(err, fs.ErrPermission) {
		return false
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return absolute(path.Path) == data || strings.HasPrefix(absolute(path.Path), data+string(filepath.Separator))
	}
	socket, ok := errors.AsType[*net.OpError](err)
	return ok && socket.Net == "unix"
}

// errNoListener means that the server of the data directory does not accept connections.
var errNoListener = errors.New("it does not accept NATS clients, since nats.listen is empty")

// dialSocket connects to the server that runs on the data directory, by its socket.
func (d *dialer) dialSocket(ctx context.Context) (*nats.Conn, error) {
	nc, err := connectSocket(d.config.Data, d.connectOptions()...)
	if err != nil {
		return nil, err
	}
	return d.pinged(ctx, nc)
}

// connectSocket connects to the socket of a data directory.
func connectSocket(data string, options ...nats.Option) (*nats.Conn, error) {
	return asOwner(data, func() (*nats.Conn, error) {
		return nats.Connect("", append(options, nats.InProcessServer(embedded.AdminProvider{DataDir: data}))...)
	})
}

// pinged returns the connection if the admin service answers. Otherwise it closes the connection.
func (d *dialer) pinged(ctx context.Context, nc *nats.Conn) (*nats.Conn, error) {
	if err := admin.NewClient(nc, d.config.NATS.Prefix).Ping(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// dialDataDir connects to the server that runs on the data directory: by its socket, or else at its address with the
// credentials in that directory.
func (d *dialer) dialDataDir(ctx context.Context) (*nats.Conn, error) {
	if nc, err := d.dialSocket(ctx); err == nil {
		return nc, nil
	}
	nc, err := dialListener(d.config, d.connectOptions()...)
	if err != nil {
		return nil, err
	}
	return d.pinged(ctx, nc)
}

// dialListener connects to the address of the server that runs on the data directory, with the credentials in that
// directory.
func dialListener(c *Config, options ...nats.Option) (*nats.Conn, error) {
	return asOwner(c.Data, func() (*nats.Conn, error) {
		credentials, err := embedded.ReadContext(c.Data)
		if err != nil {
			return nil, err
		}
		if credentials.URL == "" {
			return nil, errNoListener
		}
		options = append(options, nats.UserInfo(credentials.User, credentials.Password))
		if credentials.CA != "" {
			options = append(options, nats.RootCAs(credentials.CA))
		}
		return nats.Connect(credentials.URL, options...)
	})
}
