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
	// connectWait bounds the way to a server.
	connectWait = 5 * time.Second
	// connectEvery is how often is tried in that time.
	connectEvery = 100 * time.Millisecond
)

// addServerFlags adds what a command needs to find the server that it administers.
func addServerFlags(c *cobra.Command) {
	addSettingFlags(c.Flags(), "data", "nats.url", "nats.creds", "nats.context")
}

// withAdmin finds the server, lets do its work with it, and lets go of it.
func withAdmin(c *cobra.Command, env *Env, do func(context.Context, *admin.Client) error) error {
	return withServer(c, env, func(ctx context.Context, s *operated) error { return do(ctx, s.Client) })
}

// operated is the server that a command works on, with the NATS behind it.
type operated struct {
	*admin.Client
	nc     *nats.Conn
	config *Config
}

// withServer is withAdmin for commands that need more than what the administration does.
func withServer(c *cobra.Command, env *Env, do func(context.Context, *operated) error) error {
	return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
		s := &operated{admin.NewClient(nc, config.NATS.Prefix), nc, config}
		if !config.NATS.Embedded() { // whoever answers there is not known to be a server of ours
			if err := s.Ping(ctx); err != nil {
				return fmt.Errorf("%s: %w", serverName(config.NATS), err)
			}
		}
		return do(ctx, s)
	})
}

// withNATS finds the server, lets do its work on the NATS behind it, and lets go of it.
func withNATS(c *cobra.Command, env *Env, do func(context.Context, *nats.Conn, *Config) error) (err error) {
	config, err := loadConfig(env, c.Flags())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	f := finder{env: env, config: config, cancel: cancel, wait: connectWait}
	nc, disconnect, err := f.find(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disconnect()) }()
	if err = do(ctx, nc, config); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// finder finds the server that a command administers.
type finder struct {
	env    *Env
	config *Config
	// cancel ends the command when a server does not let it ask: then no answer would come.
	cancel context.CancelCauseFunc
	// wait is how long a data directory that somebody else holds is waited for: by a
	// server that starts, or by another command that is about to end.
	wait time.Duration
}

// find connects to the server that the configuration names: a NATS that it attaches to, or the
// one that runs on the data directory, or, where none runs there, the directory itself.
func (f *finder) find(ctx context.Context) (nc *nats.Conn, disconnect func() error, err error) {
	c := f.config.NATS
	if c.Embedded() {
		return f.openDataDir(ctx)
	}
	if nc, err = dialNATS(c, f.connectOptions()...); err != nil {
		return nil, nil, dialFailure(c, err, exitNoServer)
	}
	return nc, func() error { nc.Close(); return nil }, nil
}

func (f *finder) connectOptions() []nats.Option {
	return []nats.Option{
		nats.Name("imctl command line"),
		nats.Timeout(connectWait),
		nats.NoReconnect(),
		// The library would print to the process's stderr otherwise.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				f.cancel(errors.New("these credentials are not an administrator's"))
			}
		}),
	}
}

// openDataDir connects to the server that runs on the data directory, or opens the directory where none does.
// Which of the two it is can change at any moment, so both are tried until the time is up.
func (f *finder) openDataDir(ctx context.Context) (*nats.Conn, func() error, error) {
	data := f.config.Data
	if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &failure{code: exitNoServer,
			err:  fmt.Errorf("no server: there is no data directory %s", data),
			todo: "start one with imctl serve, or say where it is by --data, --nats or --context"}
	}
	deadline := time.NewTimer(f.wait)
	defer deadline.Stop()
	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for {
		local, err := openLocal(ctx, f.env, f.config)
		if err == nil {
			return local.nc, local.close, nil
		}
		if !errors.Is(err, embedded.ErrDirInUse) {
			return nil, nil, err
		}
		nc, reason := f.dialDataDir(ctx)
		if reason == nil {
			return nc, func() error { nc.Close(); return nil }, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-deadline.C:
			return nil, nil, &failure{code: exitNoServer, err: fmt.Errorf("%w; the server there does not answer: %w", err, reason)}
		case <-tick.C:
		}
	}
}

// errNoDoor: a server runs on the data directory, and takes no connections.
var errNoDoor = errors.New("it takes no NATS clients, since nats.listen is empty")

// dialDataDir connects to the server that holds the data directory, by the credentials that it keeps there.
func (f *finder) dialDataDir(ctx context.Context) (*nats.Conn, error) {
	credentials, err := embedded.ReadContext(f.config.Data)
	if err != nil {
		return nil, err
	}
	if credentials.URL == "" {
		return nil, errNoDoor
	}
	nc, err := nats.Connect(credentials.URL, append(f.connectOptions(), nats.UserInfo(credentials.User, credentials.Password))...)
	if err != nil {
		return nil, err
	}
	if err := admin.NewClient(nc, f.config.NATS.Prefix).Ping(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}
