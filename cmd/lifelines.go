package cmd

import (
	"context"
	"errors"
	"time"
)

// logStart logs one line about the server that has started.
func (a *App) logStart(ctx context.Context, took time.Duration) {
	b := readBuildInfo()
	attrs := []any{"version", b.Version, "revision", b.Revision, "mode", a.mode(), "listen", a.URL()}
	if a.ops != nil {
		attrs = append(attrs, "ops", a.opsURL())
	}
	if a.backend.server != nil && a.backend.server.URL() != "" {
		attrs = append(attrs, "nats", a.backend.server.URL())
	}
	attrs = append(attrs, "data", a.backend.dir.Path())
	if a.config.File != "" {
		attrs = append(attrs, "config", a.config.File)
	}
	if users, err := a.backend.store.Users.Count(ctx); err == nil {
		attrs = append(attrs, "users", users)
	} else {
		a.log.Debug("count the users", "err", err)
	}
	a.log.Info("server started", append(attrs, "took", took.Round(time.Millisecond))...)
}

// mode returns how the server uses NATS.
func (a *App) mode() string {
	switch {
	case a.backend.server == nil:
		return "attached to " + serverName(a.config.NATS)
	case a.config.clustered():
		return "node of cluster " + a.config.NATS.Cluster.Name
	}
	return "single server"
}

// stop closes the server, and logs one line with the reason: failed if it is not nil, or the cause of the end of ctx.
func (a *App) stop(ctx context.Context, failed error) error {
	reason := failed
	if reason == nil {
		reason = context.Cause(ctx)
	}
	text := "closed"
	if reason != nil {
		text = oneLine(reason)
	}
	if signal := new(interruption); errors.As(reason, signal) {
		text = signal.signal.String()
	}
	contract, keep := a.bridge.Sessions()
	a.log.Debug("stopping the server; a second signal stops it at once", "reason", text)
	began := time.Now()
	err := a.Close()
	attrs := []any{"reason", text, "sessions_closed", contract + keep, "took", time.Since(began).Round(time.Millisecond)}
	if err != nil {
		attrs = append(attrs, "err", err)
	}
	a.log.Info("server stopped", attrs...)
	return errors.Join(failed, err)
}
