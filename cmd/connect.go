package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	d := dialer{env: env, config: config, cancel: cancel, timeout: connectTimeout}
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
}

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
const noServerRemedy = "start a server with imctl serve, or select one with --data, --nats or --context"

// openDataDir connects to the server that runs on the data directory, or opens the directory if no server is running.
// A server may start or stop at any moment, so openDataDir tries both until the timeout.
func (d *dialer) openDataDir(ctx context.Context) (*nats.Conn, func() error, error) {
	data := d.config.Data
	if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &failure{exitNoServer, fmt.Errorf("no server found: data directory %s does not exist", data), noServerRemedy}
	}
	open := openLocal
	if node, err := d.config.isNode(); err != nil {
		return nil, nil, err
	} else if node {
		open = refuseLocal
	}
	deadline := time.NewTimer(d.timeout)
	defer deadline.Stop()
	tick := time.NewTicker(connectInterval)
	defer tick.Stop()
	for {
		local, err := open(ctx, d.env, d.config)
		if err == nil {
			return local.nc, local.close, nil
		}
		if !errors.Is(err, embedded.ErrDirInUse) {
			return nil, nil, err
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

// errNoListener means that the server of the data directory does not accept connections.
var errNoListener = errors.New("it does not accept NATS clients, since nats.listen is empty")

// dialDataDir connects to the server that runs on the data directory, with the credentials in that directory.
func (d *dialer) dialDataDir(ctx context.Context) (*nats.Conn, error) {
	credentials, err := embedded.ReadContext(d.config.Data)
	if err != nil {
		return nil, err
	}
	if credentials.URL == "" {
		return nil, errNoListener
	}
	options := append(d.connectOptions(), nats.UserInfo(credentials.User, credentials.Password))
	if credentials.CA != "" {
		options = append(options, nats.RootCAs(credentials.CA))
	}
	nc, err := nats.Connect(credentials.URL, options...)
	if err != nil {
		return nil, err
	}
	if err := admin.NewClient(nc, d.config.NATS.Prefix).Ping(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}
