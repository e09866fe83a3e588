package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"

	"imctl/bridge"
	"imctl/bridge/admin"
	"imctl/bridge/eventlog"
)

// localServer is what of a server an administrator's command needs: the data directory, NATS without a
// door to the outside, and the administration. It is what a command starts where no server runs.
type localServer struct {
	nc    *nats.Conn
	stops stops
	log   *slog.Logger
}

// openLocal starts it. The error is embedded.ErrDirInUse where a server, or another command, has the directory.
func openLocal(ctx context.Context, env *Env, c *Config) (_ *localServer, err error) {
	level := new(slog.LevelVar)
	l := &localServer{log: newLogger(env.Err, c.Log, level)}
	// A command says what it did itself; of the server inside it only trouble is news.
	level.Set(max(c.Log.SlogLevel(), slog.LevelWarn))
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	// The log of the disk is discarded: a command that fails because of a full disk reports that itself.
	backend, err := openBackend(ctx, c, l.log, slog.New(slog.DiscardHandler), "")
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
	services, closeServices, err := bridge.NewLocalServices(l.nc, bridge.ServicesOptions{Prefix: c.NATS.Prefix, Store: backend.store,
		Hasher: backend.hasher, EventLog: events, Access: backend.access(c), Log: l.log})
	if err != nil {
		return l, err
	}
	l.stops.add("accounts", func(context.Context) error { return closeServices() })
	if err := services.Repair(ctx); err != nil {
		return l, err
	}
	service, err := admin.Serve(l.nc, admin.Options{Prefix: c.NATS.Prefix, Accounts: services.Accounts, Friends: services.Friends,
		Attachments: services.Attachments, Store: backend.store, Log: l.log})
	if err != nil {
		return l, err
	}
	l.stops.add("administration", service.Stop)
	return l, nil
}

func (l *localServer) close() error { return l.stops.run(l.log) }
