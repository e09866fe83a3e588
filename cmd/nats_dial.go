package cmd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natscontext"

	"imctl/bridge/eventlog"
	"imctl/bridge/natslink"
	"imctl/kv"
)

const (
	// dialAttempts is how often a server tries to connect to its NATS server, and dialInterval the time between two
	// attempts. Both servers may have been started at the same moment.
	dialAttempts = 5
	dialInterval = time.Second
	// attachTimeout limits one attempt. If the auth callout is configured and no imctl server answers it, NATS takes
	// its whole authorization timeout to refuse an unknown user.
	attachTimeout = 2 * connectTimeout
)

// dialNATS connects to the configured NATS server, with its context or with its URL and credentials.
func dialNATS(c NATSConfig, options ...nats.Option) (*nats.Conn, error) {
	options = append(ownInbox(c), options...)
	if c.Context != "" {
		nc, settings, err := dialContext(c.Context, options...)
		return inDomain(nc, cmp.Or(c.Domain, settings.JSDomain)), err
	}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	encryption, err := c.TLS.options()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(c.URL, append(options, encryption...)...)
	return inDomain(nc, c.Domain), err
}

// dialContext connects with a NATS context: the name of a context of the nats tool, or a file. It returns the settings
// of the context.
func dialContext(name string, options ...nats.Option) (nc *nats.Conn, settings natscontext.Settings, err error) {
	if isContextFile(name) {
		if name, err = filepath.Abs(name); err != nil {
			return nil, settings, err
		}
		// An error of Connect may concern another file, such as the credentials.
		if _, err := os.Stat(name); err != nil {
			return nil, settings, usageErrorf("%w", err)
		}
	}
	nc, settings, err = natscontext.Connect(name, options...)
	if err != nil && !isConnectError(err) {
		err = usageErrorf("%w", err)
	}
	return nc, settings, err
}

// isConnectError reports whether a server was not reached or refused the connection. Other errors of a dial mean that
// the context could not be read.
func isConnectError(err error) bool {
	var network interface{ Timeout() bool }
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network)
}

// serverName names the configured NATS server in messages, without secrets.
func serverName(c NATSConfig) string {
	if c.Context != "" {
		return "NATS context " + c.Context
	}
	return RedactURL(c.URL)
}

// dialFailure adds the server and a remedy to an error of dialNATS. unreachable is the exit code if the server could
// not be reached.
func dialFailure(c NATSConfig, err error, unreachable int) error {
	setting := "nats.url"
	if c.Context != "" {
		setting = "the context"
	}
	var failed *failure
	switch {
	case err == nil, errors.As(err, &failed):
		return err
	case isRefused(err):
		return &failure{exitFailed, fmt.Errorf("%s refuses these credentials", serverName(c)),
			"set a valid user and password in " + setting + ", or create them with imctl nats config"}
	case tlsRemedy(c, err) != "":
		return &failure{exitFailed, fmt.Errorf("%s: %w", serverName(c), err), tlsRemedy(c, err)}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return usageErrorf("%s: %w", serverName(c), err)
	}
	if remedy := answeredRemedy(err, setting); remedy != "" {
		return &failure{exitFailed, fmt.Errorf("%s: %w", serverName(c), err), remedy}
	}
	return &failure{unreachable, fmt.Errorf("%s: %w", serverName(c), err), "start it, or correct " + setting}
}

// answeredRemedy returns the remedy for an error of a server that was reached, or "". The library has no errors for most of
// what a server says while a client connects.
func answeredRemedy(err error, setting string) string {
	var certificate *tls.CertificateVerificationError
	says := func(text string) bool { return strings.Contains(strings.ToLower(err.Error()), text) }
	switch {
	case says(nats.MAX_ACCOUNT_CONNECTIONS_ERR):
		return "raise the limit of connections of the account, or close others; imctl needs about 10 for each node"
	case says(nats.MAX_CONNECTIONS_ERR):
		return "raise max_connections of the NATS server, or close others; imctl needs about 10 for each node"
	case errors.Is(err, nats.ErrSecureConnRequired):
		return "the server requires TLS: write tls:// in " + setting
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the server has no TLS: write nats:// in " + setting
	case errors.As(err, &certificate):
		return "let " + setting + " name a host of the server's certificate, and trust the authority that has signed it"
	}
	return ""
}

// isRefused reports whether NATS refused the credentials. For users that are not in its configuration, NATS asks the
// auth callout. If no imctl server answers, NATS pings the client before it refuses. The library has no error for
// that.
func isRefused(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		strings.Contains(err.Error(), "expected 'PONG', got 'PING'")
}

// attach connects to the configured NATS server, checks the permissions of its user, and sets b.connect.
func (b *backend) attach(ctx context.Context, c *Config, log *slog.Logger) error {
	nc, err := dialWithRetry(ctx, c.NATS, log)
	if err != nil {
		return dialFailure(c.NATS, err, exitFailed)
	}
	log.Debug("attached to NATS", "server", nc.ConnectedUrlRedacted(), "version", nc.ConnectedServerVersion())
	err = checkPermissions(ctx, nc, c.NATS, c.Backup.Dir != "")
	nc.Close()
	if err != nil {
		return err
	}
	b.link = natslink.New(log)
	b.connect = func(name string, opts ...nats.Option) (*nats.Conn, error) {
		nc, err := b.link.Connect(func(last nats.Option) (*nats.Conn, error) {
			return dialNATS(c.NATS, slices.Concat(persistentOptions(name, log), opts, []nats.Option{last})...)
		})
		return nc, dialFailure(c.NATS, err, exitFailed)
	}
	return nil
}

// persistentOptions returns the options of a connection that reconnects for as long as the process runs. The link decides
// when and where.
func persistentOptions(name string, log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		// While a server reloads its configuration, it may refuse credentials that it accepts a moment later.
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(logNATSErrors(name, log)),
	}
}

// dialWithRetry connects to a server that may still be starting. It retries only if the server is not reachable.
func dialWithRetry(ctx context.Context, c NATSConfig, log *slog.Logger) (*nats.Conn, error) {
	for n := 1; ; n++ {
		// Without a handler the library prints errors to standard error. checkPermissions uses LastError.
		silent := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
		nc, err := dialNATS(c, nats.Name("imctl attaching"), nats.NoReconnect(), nats.Timeout(attachTimeout), silent, explainRefusal)
		var failed *failure
		if err == nil || errors.As(dialFailure(c, err, exitNoServer), &failed) && failed.code != exitNoServer {
			return nc, err
		}
		if n == dialAttempts {
			return nil, fmt.Errorf("not reachable after %d attempts: %w", n, err)
		}
		log.Warn("cannot connect to NATS; retrying", "server", serverName(c), "err", err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(dialInterval):
		}
	}
}

// logNATSErrors logs asynchronous errors of NATS, such as permission violations and slow consumers.
func logNATSErrors(name string, log *slog.Logger) nats.ErrHandler {
	return func(_ *nats.Conn, sub *nats.Subscription, err error) {
		args := []any{"connection", name, "err", err}
		if sub != nil {
			args = append(args, "subject", sub.Subject)
		}
		level := slog.LevelError
		if errors.Is(err, nats.ErrSlowConsumer) {
			level = slog.LevelInfo // the subscriber notices the gap: an ordered consumer, for instance, begins again
		}
		log.Log(context.Background(), level, "NATS error", args...)
	}
}

// replicasNotSupported is JetStream's error code for more replicas than servers. The client library has no name for it.
const replicasNotSupported jetstream.ErrorCode = 10074

// attachFailure adds the server and a remedy to an error of an attached NATS server.
func attachFailure(c NATSConfig, err error) error {
	var apiError *jetstream.APIError
	remedy := ""
	switch {
	case errors.Is(err, kv.ErrServerTooOld):
		remedy = "upgrade it to nats-server 2.12 or later"
	case errors.Is(err, kv.ErrNoJetStream):
		remedy = `add "jetstream { store_dir: DIRECTORY }" to its configuration, and "jetstream: enabled" to the account (see imctl nats config)`
	case errors.Is(err, kv.ErrStreamMismatch), errors.Is(err, eventlog.ErrStream):
		remedy = "delete that stream, or set another nats.prefix"
	case errors.As(err, &apiError) && apiError.ErrorCode == replicasNotSupported:
		remedy = "set nats.replicas to 1, or attach to a cluster"
	default:
		return err
	}
	return &failure{exitFailed, fmt.Errorf("%s: %w", serverName(c), err), remedy}
}
