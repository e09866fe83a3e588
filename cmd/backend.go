package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/embedded"
	"imctl/kv"
)

// startWait bounds how long NATS may take to be there, and then the buckets. An upgrade of the buckets may take longer.
const startWait = 2 * time.Minute

// stopWait bounds one step of an orderly end.
const stopWait = 10 * time.Second

// stops are the steps of an orderly end, each added as soon as there is something to stop, taken last in, first out.
type stops []struct {
	name string
	stop func(context.Context) error
}

func (s *stops) add(name string, stop func(context.Context) error) {
	*s = append(*s, struct {
		name string
		stop func(context.Context) error
	}{name, stop})
}

// run takes every step, whether the ones before it failed or not.
func (s *stops) run(log *slog.Logger) error {
	var failed []error
	for i := len(*s) - 1; i >= 0; i-- {
		step := (*s)[i]
		ctx, cancel := context.WithTimeout(context.Background(), stopWait)
		log.Debug("stopping", "part", step.name)
		if err := step.stop(ctx); err != nil {
			failed = append(failed, fmt.Errorf("stop %s: %w", step.name, err))
		}
		cancel()
	}
	*s = nil
	return errors.Join(failed...)
}

// backend is what stands behind the bridge: the data directory, NATS, and the buckets in it.
type backend struct {
	dir     *embedded.Dir
	server  *embedded.Server // nil when attached to a NATS that was there
	connect func(name string, opts ...nats.Option) (*nats.Conn, error)
	nc      *nats.Conn
	store   *kv.Store
	hasher  *kv.Hasher
	stops   stops
}

// openBackend locks the data directory, starts the embedded NATS server or connects to another, and opens the buckets.
// The embedded server accepts NATS clients at listen, or none if listen is empty. It logs the state of its disk to
// diskLog.
func openBackend(ctx context.Context, c *Config, log, diskLog *slog.Logger, listen string) (_ *backend, err error) {
	b := &backend{hasher: newHasher(c)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stops.run(log))
		}
	}()
	if b.dir, err = embedded.OpenDir(c.Data); err != nil {
		return nil, err
	}
	b.stops.add("data directory", func(context.Context) error { return b.dir.Close() })
	if err := checkSwapped(b.dir.Path(), c); err != nil {
		return nil, err
	}
	if err := clearStaging(b.dir); err != nil {
		return nil, err
	}
	starting, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := b.findNATS(starting, c, log, diskLog, listen); err != nil {
		return nil, err
	}
	if b.nc, err = b.connect("imctl buckets"); err != nil {
		return nil, err
	}
	b.stops.add("buckets", func(context.Context) error { b.nc.Close(); return nil })
	if err := b.openStore(ctx, c, log); err != nil {
		return nil, err
	}
	return b, nil
}

// openStore opens the buckets. The data directory remembers from then on which streams must exist.
func (b *backend) openStore(ctx context.Context, c *Config, log *slog.Logger) error {
	owner := b.owner(c)
	expected, err := b.dir.Streams(owner)
	if err != nil {
		return err
	}
	b.store, err = kv.Open(ctx, b.nc, kv.Options{Prefix: c.NATS.Prefix, Replicas: c.NATS.Replicas, TokenTTL: c.Tokens.TTL,
		MaxFriends: c.Limits.Friends, MaxRequests: c.Limits.Requests, Log: log, MayWrite: b.mayWrite, Expected: expected, AcceptLoss: c.acceptLoss, Wait: startWait,
		Remember: func(streams map[string]time.Time) error { return b.dir.RememberStreams(owner, streams) }})
	var lost *kv.LostError
	switch {
	case errors.As(err, &lost):
		return lossFailure(b.place(c), lost)
	case errors.Is(err, kv.ErrRestoreUnfinished):
		return unfinished(c, err)
	case err != nil && b.server == nil:
		return attachFailure(c.NATS, err)
	}
	return err
}

// owner returns the name under which the data directory remembers the streams.
func (b *backend) owner(c *Config) string {
	if b.server == nil {
		return "attached/" + c.NATS.Prefix
	}
	return embedded.EmbeddedOwner(c.NATS.Prefix)
}

// place names where the streams are: the data directory or the attached NATS server.
func (b *backend) place(c *Config) string {
	if b.server == nil {
		return serverName(c.NATS)
	}
	return "data directory " + b.dir.Path()
}

// lossFailure names what is missing and the two remedies.
func lossFailure(place string, lost *kv.LostError) error {
	return &failure{exitFailed, fmt.Errorf("%s: %w", place, lost),
		"restore a backup with imctl restore FILE, or accept the loss with imctl serve --accept-loss " + strings.Join(lost.Names, ",")}
}

// findNATS starts the embedded server, or attaches to the NATS server of the configuration.
func (b *backend) findNATS(ctx context.Context, c *Config, log, diskLog *slog.Logger, listen string) (err error) {
	if !c.NATS.Embedded() {
		return b.attach(ctx, c, log)
	}
	b.server, err = embedded.Start(ctx, embedded.Options{Dir: b.dir, Listen: listen, Sync: time.Duration(c.NATS.Sync),
		Reserve: int64(c.DataReserve), SkipDataCheck: !c.DataCheck, Log: log, DiskLog: diskLog})
	if errors.Is(err, embedded.ErrStoreDamaged) {
		return &failure{exitFailed, err, "or set data_check to false: NATS then starts and drops what it can't read"}
	}
	if err != nil {
		return err
	}
	b.stops.add("NATS server", b.server.Shutdown)
	b.connect = b.server.Connect
	return nil
}

// healthy is nil while NATS answers and its streams are there.
func (b *backend) healthy() error {
	if b.server != nil {
		return b.server.Healthy()
	}
	if !b.nc.IsConnected() {
		return errors.New("NATS is away")
	}
	return nil
}

// failed delivers an error that the embedded server can't go on after; it is nil, and delivers none, without one.
func (b *backend) failed() <-chan error {
	if b.server == nil {
		return nil
	}
	return b.server.Failed()
}

func newHasher(c *Config) *kv.Hasher {
	return kv.NewHasher(kv.HasherOptions{MemoryKiB: uint32(c.Passwords.Memory / KiB), Passes: uint32(c.Passwords.Passes),
		MaxLength: c.Passwords.MaxLength})
}
