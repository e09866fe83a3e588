package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natscontext"

	"imctl/bridge/eventlog"
	"imctl/kv"
)

const (
	// dialTries is how often a server looks for its NATS before it gives up, and dialEvery how long it waits between.
	// Both may have been started at the same moment.
	dialTries = 5
	dialEvery = time.Second
	// attachWait is how long one try may take. Where our callout is configured and no server of ours is there to answer
	// it, NATS needs its authorization's whole timeout to refuse a name that it does not know.
	attachWait = 2 * connectWait
	// redialEvery is how soon, and by how much later at random, a connection that was lost is tried again.
	redialEvery  = 250 * time.Millisecond
	redialJitter = 250 * time.Millisecond
)

// dialNATS connects to the NATS that the configuration names: by its context, or by its URL and credentials.
func dialNATS(c NATSConfig, options ...nats.Option) (*nats.Conn, error) {
	if c.Context != "" {
		nc, _, err := dialContext(c.Context, options...)
		return nc, err
	}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	return nats.Connect(c.URL, options...)
}

// dialContext connects by a NATS context: the name of one that the nats tool knows, or a file. What is in the context is
// known once there is a connection.
func dialContext(name string, options ...nats.Option) (nc *nats.Conn, settings natscontext.Settings, err error) {
	if isContextFile(name) {
		if name, err = filepath.Abs(name); err != nil {
			return nil, settings, err
		}
		// The connection's own errors may be about other files, so this one is looked for first.
		if _, err := os.Stat(name); err != nil {
			return nil, settings, wrongUse("%w", err)
		}
	}
	nc, settings, err = natscontext.Connect(name, options...)
	if err != nil && !isConnectError(err) {
		err = wrongUse("%w", err)
	}
	return nc, settings, err
}

// isConnectError tells a server that was not reached, or did not want us, from a context that could not be read.
func isConnectError(err error) bool {
	var network interface{ Timeout() bool }
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network)
}

func serverName(c NATSConfig) string {
	if c.Context != "" {
		return "NATS context " + c.Context
	}
	return RedactURL(c.URL)
}

// dialFailure says in one line why a NATS can't be had, and what helps. unreached is the exit code for one that was not
// reached.
func dialFailure(c NATSConfig, err error, unreached int) error {
	setting := "nats.url"
	if c.Context != "" {
		setting = "the context"
	}
	var known *failure
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case refused(err):
		return &failure{exitFailed, fmt.Errorf("%s refuses these credentials", serverName(c)),
			"put a user and password that it knows into " + setting + "; imctl nats config makes them for a server's configuration"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return wrongUse("%s: %w", serverName(c), err)
	}
	return &failure{unreached, fmt.Errorf("%s: %w", serverName(c), err), "start it, or correct " + setting}
}

// refused tells that NATS does not know the credentials. It asks our callout about names that are not in its
// configuration; while no server of ours is there to answer, it pings the client before it decides, for which the
// library has no error of its own.
func refused(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		strings.Contains(err.Error(), "expected 'PONG', got 'PING'")
}

// attach makes sure that the NATS which the configuration names is there and lets us do what we have to, and has
// further connections made to it.
func (b *backend) attach(ctx context.Context, c *Config, log *slog.Logger) error {
	nc, err := reach(ctx, c.NATS, log)
	if err != nil {
		return dialFailure(c.NATS, err, exitFailed)
	}
	log.Debug("attached to NATS", "server", nc.ConnectedUrlRedacted(), "version", nc.ConnectedServerVersion())
	err = mayDo(ctx, nc, c.NATS)
	nc.Close()
	if err != nil {
		return err
	}
	b.connect = func(name string, opts ...nats.Option) (*nats.Conn, error) {
		nc, err := dialNATS(c.NATS, append(lasting(name, log), opts...)...)
		return nc, dialFailure(c.NATS, err, exitFailed)
	}
	return nil
}

// lasting are the options of a connection that is kept up for as long as the process runs.
func lasting(name string, log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(redialEvery),
		nats.ReconnectJitter(redialJitter, redialJitter),
		// While its configuration is changed a server may refuse whom it lets in again a moment later.
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(logNATSErrors(name, log)),
	}
}

// reach connects, waiting a while for a server that is about to start. One that says no is not asked again.
func reach(ctx context.Context, c NATSConfig, log *slog.Logger) (*nats.Conn, error) {
	for n := 1; ; n++ {
		// The library would print errors to the process's stderr otherwise; who asks looks at LastError.
		silent := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
		nc, err := dialNATS(c, nats.Name("imctl attaching"), nats.NoReconnect(), nats.Timeout(attachWait), silent)
		var known *failure
		if err == nil || errors.As(dialFailure(c, err, exitNoServer), &known) && known.code != exitNoServer {
			return nc, err
		}
		if n == dialTries {
			return nil, fmt.Errorf("not reached in %d tries: %w", n, err)
		}
		log.Warn("NATS is not there yet", "server", serverName(c), "err", err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(dialEvery):
		}
	}
}

// logNATSErrors logs what NATS says out of turn: what it does not let us do, or a subscription that takes too long.
func logNATSErrors(name string, log *slog.Logger) nats.ErrHandler {
	return func(_ *nats.Conn, sub *nats.Subscription, err error) {
		args := []any{"connection", name, "err", err}
		if sub != nil {
			args = append(args, "subject", sub.Subject)
		}
		log.Error("NATS", args...)
	}
}

// JetStream's own number for more replicas than there are servers; the client has no name for it.
const replicasNotSupported jetstream.ErrorCode = 10074

// attachFailure adds what helps to an error of an attached NATS.
func attachFailure(c NATSConfig, err error) error {
	var refused *jetstream.APIError
	todo := ""
	switch {
	case errors.Is(err, kv.ErrServerTooOld):
		todo = "put nats-server 2.12 or later there"
	case errors.Is(err, kv.ErrNoJetStream):
		todo = `its configuration needs "jetstream { store_dir: DIRECTORY }", and "jetstream: enabled" in the account; imctl nats config prints the account`
	case errors.Is(err, kv.ErrStreamMismatch), errors.Is(err, eventlog.ErrStream):
		todo = "delete that stream, or set another nats.prefix"
	case errors.As(err, &refused) && refused.ErrorCode == replicasNotSupported:
		todo = "set nats.replicas to 1, or attach to a cluster"
	default:
		return err
	}
	return &failure{exitFailed, fmt.Errorf("%s: %w", serverName(c), err), todo}
}
