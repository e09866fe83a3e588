package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"

	"imctl/bridge"
	"imctl/bridge/admin"
	"imctl/bridge/audit"
	"imctl/bridge/eventlog"
)

// localServer is the part of a server that administrative commands need: the data directory, an embedded NATS server
// without a listener, and the admin service. A command starts it if no server is running on the data directory.
type localServer struct {
	nc    *nats.Conn
	stops stops
	log   *slog.Logger
}

// openLocal starts a localServer. The error is embedded.ErrDirInUse if a server or another command has locked the data
// directory.
func openLocal(ctx context.Context, env *Env, c *Config) (_ *localServer, err error) {
	level := new(slog.LevelVar)
	l := &localServer{log: newLogger(env.Err, c.Log, level)}
	// The command reports its own result, so only warnings and errors of the server are logged.
	level.Set(max(c.Log.SlogLevel(), slog.LevelWarn))
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	// The log of the disk is discarded: a command that fails because of a full disk reports that itself.
	backend, err := openBackend(ctx, c, newHasher(c, nil), l.log, slog.New(slog.DiscardHandler), clientListener{})
	if err != nil {
		return l, err
	}
	l.stops.add("backend", func(context.Context) error { return backend.stops.run(l.log) })
	if l.nc, err = backend.connect("imctl command line"); err != nil {
		return l, fmt.Errorf("connect to NATS: %w", err)
	}
	l.stops.add("connection", func(context.Context) error { l.nc.Close(); return nil })
	options := backend.eventLog(c)
	options.Prefix, options.States, options.Log = c.NATS.Prefix, backend.store.States, l.log
	events, err := eventlog.Open(ctx, l.nc, backend.connect, options)
	if err != nil {
		return l, err
	}
	l.stops.add("event log", events.Close)
	trail := backend.audit(c)
	trail.Prefix, trail.Node, trail.Store, trail.Log = c.NATS.Prefix, "command", backend.store, l.log
	audited, err := audit.Open(ctx, backend.connect, trail)
	if err != nil {
		return l, err
	}
	l.stops.add("audit trail", audited.Close)
	services, closeServices, err := bridge.NewLocalServices(l.nc, bridge.ServicesOptions{Prefix: c.NATS.Prefix, Store: backend.store,
		Hasher: backend.hasher, EventLog: events, Access: backend.access(c), Webhooks: webhooks(c), Log: l.log})
	if err != nil {
		return l, err
	}
	l.stops.add("accounts", func(context.Context) error { return closeServices() })
	if err := services.Repair(ctx); err != nil {
		return l, err
	}
	service, err := admin.Serve(l.nc, admin.Options{Prefix: c.NATS.Prefix, Accounts: services.Accounts, Friends: services.Friends,
		Attachments: services.Attachments, Webhooks: services.Webhooks, Store: backend.store, Audit: audited, ReadDialogues: c.Admin.ReadDialogues, Log: l.log})
	if err != nil {
		return l, err
	}
	l.stops.add("admin service", service.Stop)
	// Other commands may have connected meanwhile. The server ends after them, unless this command is interrupted.
	l.stops.add("administrator's socket", func(context.Context) error { return backend.server.DrainAdmin(ctx) })
	return l, nil
}

func (l *localServer) close() error { return l.stops.run(l.log) }
