package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
)

func newServe(env *Env) *cobra.Command {
	var acceptLoss []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server until it receives SIGTERM or SIGINT, then shut it down gracefully. A second signal stops
it at once.

SIGHUP reloads limits, log level, certificates, origins and backups from the configuration. The reload is
rejected if the file is invalid, or if it existed at the start and is now missing or empty.

The server does not start if a required stream or consumer is missing. Restore a backup, or accept the
loss with --accept-loss NAME. The name of a consumer is STREAM/CONSUMER. The server then creates the
missing streams, which are empty.`,
		Example: `  imctl serve
  imctl serve --listen 127.0.0.1:9000 --data /var/lib/imctl`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			load := func(current *Config) (*Config, error) { return reloadConfig(env, c.Flags(), current) }
			config, err := load(nil)
			if err != nil {
				return err
			}
			config.acceptLoss = acceptLoss
			dropOtherCommands(c)
			return runServe(c.Context(), env, config, load)
		},
	}
	c.Flags().StringSliceVar(&acceptLoss, "accept-loss", nil, "start without these missing `streams` or consumers, and create them empty")
	addSettingFlags(c.Flags(), "listen", "data", "nats.url", "log.level")
	return c
}

// dropOtherCommands removes the commands that do not run. They and their flags would take 4 MB as long as the server
// runs.
func dropOtherCommands(c *cobra.Command) {
	root := c.Root()
	for _, other := range root.Commands() {
		if other != c {
			root.RemoveCommand(other)
		}
	}
}

// runServe runs the server until ctx is done. load reads the configuration again. Its argument is the current one.
func runServe(ctx context.Context, env *Env, config *Config, load func(current *Config) (*Config, error)) error {
	level := new(slog.LevelVar)
	log := newLogger(env.Err, config.Log, level)
	hangups, stop := env.hangups()
	defer stop()
	defer tuneGC(env.Environ)()
	defer limitMemory(log)()
	reportMemory(log, config)
	if err := config.adoptSockets(); err != nil {
		return err
	}
	began := time.Now()
	app, err := NewApp(ctx, config, log, level)
	if err != nil {
		return err
	}
	app.logStart(ctx, time.Since(began))
	app.announce(env)
	notifySystemd(log, daemon.SdNotifyReady)
	reportCtx, stopReports := context.WithCancel(ctx)
	defer stopReports()
	go app.reportToSystemd(reportCtx)

	reload := make(chan *Config)
	watchCtx, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go func() {
		current := config
		for {
			select {
			case <-watchCtx.Done():
				return
			case <-hangups:
			}
			notifySystemd(log, daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
			next, err := load(current)
			if err != nil {
				log.Error("configuration reload rejected", "err", err)
				notifySystemd(log, daemon.SdNotifyReady)
				continue
			}
			current = next
			select {
			case reload <- next:
			case <-watchCtx.Done():
				return
			}
		}
	}()
	err = app.Run(ctx, reload)
	notifySystemd(log, daemon.SdNotifyStopping)
	return app.stop(ctx, err)
}

// announce writes the addresses of the server and the paths of its files to standard output.
func (a *App) announce(env *Env) {
	w := env.Out
	var rows [][]string
	if url := a.publicURL(); !strings.HasPrefix(url, unixPrefix) {
		rows = append(rows, []string{"page", url + "/im/www/v1/chat.html"})
	}
	if url := a.URL(); strings.HasPrefix(url, unixPrefix) {
		rows = append(rows, []string{"socket", url})
	} else {
		rows = append(rows, []string{"protocol", url + "/im/"})
	}
	switch {
	case a.backend.server == nil:
		rows = append(rows, []string{"nats", "attached to " + RedactURL(a.backend.nc.ConnectedUrl())})
	case a.backend.server.URL() == "":
		rows = append(rows, []string{"nats", "embedded, no listener"})
	default:
		rows = append(rows, []string{"nats", a.backend.server.URL() + "  (credentials in " + a.backend.dir.Path("admin.json") + ")"})
	}
	if a.ops != nil {
		url := a.opsURL()
		if strings.HasPrefix(url, unixPrefix) {
			url += "  "
		}
		rows = append(rows, []string{"operations", url + "/readyz, /healthz, /metrics"})
	}
	if a.monitor != nil {
		rows = append(rows, []string{"monitor", a.monitorURL() + "/varz, /jsz, /routez"})
	}
	rows = append(rows, []string{"data", a.backend.dir.Path()})
	rows = append(rows, []string{"config", a.config.source(env)})
	fmt.Fprintln(w, "imctl is ready")
	for _, r := range rows {
		fmt.Fprintf(w, "  %-11s %s\n", r[0], r[1])
	}
}
