package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge"
	"imctl/bridge/natslink"
	"imctl/embedded"
	"imctl/kv"
)

// startTimeout limits the start of NATS, and then the opening of the buckets. An upgrade of the buckets may take
// longer.
const startTimeout = 2 * time.Minute

// restoreEvery is how often the start of a node checks whether a restore has ended.
const restoreEvery = 5 * time.Second

// stopTimeout limits each step of a graceful shutdown.
const stopTimeout = 10 * time.Second

// stops are the steps of a graceful shutdown. Each step is added as soon as its part has started. They run in reverse
// order.
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

// run runs every step, even if an earlier step fails. It returns all errors.
func (s *stops) run(log *slog.Logger) error {
	var failed []error
	for i := len(*s) - 1; i >= 0; i-- {
		step := (*s)[i]
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		log.Debug("stopping", "part", step.name)
		if err := step.stop(ctx); err != nil {
			failed = append(failed, fmt.Errorf("stop %s: %w", step.name, err))
		}
		cancel()
	}
	*s = nil
	return errors.Join(failed...)
}

// backend is the storage behind the bridge: the data directory, NATS, and its buckets.
type backend struct {
	dir     *embedded.Dir
	server  *embedded.Server // nil if attached to an external NATS server
	link    *natslink.Link   // of the connections to an external NATS server; nil with the embedded one
	connect func(name string, opts ...nats.Option) (*nats.Conn, error)
	// interest returns how many subscriptions match a subject; nil with an external NATS server, which does not tell.
	interest func(subject string) int
	nc       *nats.Conn
	store    *kv.Store
	hasher   *kv.Hasher
	ca       string // file with the certificate of the embedded server's listener; "" without TLS
	stops    stops
}

// clientListener is where the embedded server accepts NATS clients. The zero value accepts none.
type clientListener struct {
	address string
	// encrypt returns the TLS configuration, nil for none, and the file with the certificate that clients on this machine
	// verify. It may use the data directory, which is locked.
	encrypt func(*embedded.Dir) (*tls.Config, string, error)
}

// openBackend locks the data directory, starts the embedded NATS server or connects to another, and opens the buckets.
// The embedded server accepts NATS clients at listen. It logs the state of its disk to diskLog.
func openBackend(ctx context.Context, c *Config, hasher *kv.Hasher, log, diskLog *slog.Logger, listen clientListener) (_ *backend, err error) {
	b := &backend{hasher: hasher}
	defer func() {
		if err != nil {
			err = errors.Join(dirFailure(c.Data, exitFailed, err), b.stops.run(log))
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
	startCtx, wait := ctx, time.Duration(0)
	if !c.clustered() { // the first node of a cluster waits for the others, however long it takes to start them
		var cancel context.CancelFunc
		startCtx, cancel = context.WithTimeout(ctx, startTimeout)
		defer cancel()
		wait = startTimeout
	}
	if err := b.openNATS(startCtx, c, log, diskLog, listen); err != nil {
		return nil, err
	}
	if b.nc, err = b.connect("imctl buckets"); err != nil {
		return nil, err
	}
	b.stops.add("buckets", func(context.Context) error { b.nc.Close(); return nil })
	if err := b.openStore(ctx, c, wait, log, diskLog); err != nil {
		return nil, err
	}
	return b, nil
}

// openStore opens the buckets and the stream of conversations. From then on, the data directory records which streams
// must exist. wait bounds the wait for the leaders of the streams, 0 for no limit.
func (b *backend) openStore(ctx context.Context, c *Config, wait time.Duration, log, diskLog *slog.Logger) error {
	owner := b.owner(c)
	expected, err := b.dir.Streams(owner)
	if err != nil {
		return err
	}
	talks, err := b.fitTalks(ctx, c, diskLog)
	if err != nil {
		return err
	}
	options := kv.Options{Prefix: c.NATS.Prefix, Talks: talks, Files: filesOptions(c), Replicas: c.NATS.replicas(), TokenTTL: c.Tokens.TTL, TokenMaxAge: c.Tokens.MaxAge,
		MaxFriends: c.Limits.Friends, MaxRequests: c.Limits.Requests, Cooldown: c.Limits.Cooldown, Log: log, MayWrite: b.mayWrite, Expected: expected, AcceptLoss: c.acceptLoss, Wait: wait,
		Remember: func(streams map[string]time.Time) error { return b.dir.RememberStreams(owner, streams) }}
	b.store, err = kv.Open(ctx, b.nc, options)
	for c.clustered() && errors.Is(err, kv.ErrRestoreUnfinished) {
		// No server can complete the restore once all nodes have stopped, so the NATS server of this node stays up for
		// it.
		log.Error("waiting for the end of a restore; if it was interrupted, complete it", "command", completeLine(c), "err", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(restoreEvery):
		}
		b.store, err = kv.Open(ctx, b.nc, options)
	}
	var lost *kv.LostError
	switch {
	case errors.As(err, &lost):
		return lossFailure(b.place(c), lost)
	case errors.Is(err, kv.ErrRestoreUnfinished):
		return completeFailure(c, err)
	case err != nil && b.server == nil:
		return attachFailure(c.NATS, err)
	}
	return err
}

// owner returns the name under which the data directory records the streams.
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

// lossFailure returns the failure for missing streams, with the two remedies.
func lossFailure(place string, lost *kv.LostError) error {
	return &failure{exitFailed, fmt.Errorf("%s: %w", place, lost),
		"restore a backup with imctl restore FILE, or accept the loss with imctl serve --accept-loss " + strings.Join(lost.Names, ",")}
}

// openNATS starts the embedded server, or attaches to the configured NATS server.
func (b *backend) openNATS(ctx context.Context, c *Config, log, diskLog *slog.Logger, listen clientListener) (err error) {
	var encrypted *tls.Config
	if listen.encrypt != nil {
		if encrypted, b.ca, err = listen.encrypt(b.dir); err != nil {
			return err
		}
	}
	if !c.NATS.Embedded() {
		return b.attach(ctx, c, log)
	}
	b.server, err = embedded.Start(ctx, embedded.Options{Dir: b.dir, Listen: listen.address, TLS: encrypted, CA: b.ca, Sync: time.Duration(c.NATS.Sync),
		MaxConnections: c.natsConnections(), MaxPending: maxPending(c), Reserve: int64(c.DataReserve), Admin: true, SkipDataCheck: !c.DataCheck, Cluster: c.cluster(), Log: log, DiskLog: diskLog})
	if errors.Is(err, embedded.ErrStoreDamaged) && c.clustered() {
		return &failure{exitFailed, err, "or, while all other nodes of the cluster are running, remove the folder jetstream from the data directory: " +
			"this node then gets its records from them"}
	}
	if errors.Is(err, embedded.ErrStoreDamaged) {
		return &failure{exitFailed, err, "or set data_check to false: NATS then starts and drops what it cannot read"}
	}
	if err != nil {
		return err
	}
	b.stops.add("NATS server", b.server.Shutdown)
	b.connect, b.interest = b.server.Connect, b.server.Interest
	return nil
}

// maxPending returns how many bytes may wait for a NATS client: what a consumer of the log asks for at once with the
// client library's defaults, if all its entries are dialogues of the largest size.
func maxPending(c *Config) int64 {
	const entries, overhead = 512, KiB
	return int64(min(max(entries*(c.Sessions.MaxFrame+overhead), 16*MiB), 64*MiB))
}

// healthy returns nil while NATS answers and its streams exist.
func (b *backend) healthy() error {
	if b.server != nil {
		return b.server.Healthy()
	}
	if !b.nc.IsConnected() {
		return errors.New("not connected to NATS")
	}
	return nil
}

// moves returns what moves the connections to an external NATS server, or nil.
func (b *backend) moves() bridge.Moves {
	if b.link == nil {
		return nil
	}
	return b.link
}

// failed returns a channel that receives the error after which the embedded server cannot continue. It is nil if NATS
// is attached.
func (b *backend) failed() <-chan error {
	if b.server == nil {
		return nil
	}
	return b.server.Failed()
}

// newHasher returns a hasher whose hashes wait in the queue, or in order if it is nil.
func newHasher(c *Config, queue kv.Queue) *kv.Hasher {
	limit := memoryLimit()
	cost := hashCostOf(limit, c)
	return kv.NewHasher(kv.HasherOptions{MemoryKiB: uint32(cost.memory / KiB), Passes: uint32(cost.passes),
		MinLength: c.Passwords.MinLength, MaxLength: c.Passwords.MaxLength, Queue: queue,
		Remember: rememberedLogins(limit), Reserve: reserveForHash})
}
