package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

func newServe(env *Env) *cobra.Command {
	var acceptLoss []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server until SIGTERM or SIGINT, which shut it down gracefully. A second signal stops it at once.
SIGHUP reloads limits, log level, certificates and origins from the configuration. A reload changes
nothing if the file has a mistake, or if it existed at the start and is now missing or empty.

A start fails if a stream or consumer that must exist is missing. Restore a backup, or accept the loss
with --accept-loss NAME, where a consumer is STREAM/NAME. Missing streams are made anew, empty.`,
		Example: `  imctl serve
  imctl serve --listen 127.0.0.1:9000 --data /var/lib/imctl`,
		Args: mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			load := func(before *Config) (*Config, error) { return reloadConfig(env, c.Flags(), before) }
			config, err := load(nil)
			if err != nil {
				return err
			}
			config.acceptLoss = acceptLoss
			return runServe(c.Context(), env, config, load)
		},
	}
	c.Flags().StringSliceVar(&acceptLoss, "accept-loss", nil, "start although these `streams` or consumers are missing, and make them anew, empty")
	addSettingFlags(c.Flags(), "listen", "data", "nats.url", "log.level")
	return c
}

// runServe runs the server until ctx is done. load reloads the configuration; before is the current one.
func runServe(ctx context.Context, env *Env, config *Config, load func(before *Config) (*Config, error)) error {
	level := new(slog.LevelVar)
	log := newLogger(env.Err, config.Log, level)
	hangups, stop := env.hangups()
	defer stop()
	defer tuneGC(env.Environ)()
	app, err := NewApp(ctx, config, log, level)
	if err != nil {
		return err
	}
	app.announce(env.Out)

	reload := make(chan *Config)
	reading, done := context.WithCancel(ctx)
	defer done()
	go func() {
		before := config
		for {
			select {
			case <-reading.Done():
				return
			case <-hangups:
			}
			next, err := load(before)
			if err != nil {
				log.Error("the configuration stays as it was", "err", err)
				continue
			}
			before = next
			select {
			case reload <- next:
			case <-reading.Done():
				return
			}
		}
	}()
	err = app.Run(ctx, reload)
	return errors.Join(err, app.Close())
}

// announce says where everything is.
func (a *App) announce(w io.Writer) {
	rows := [][]string{{"page", a.URL() + "/im/www/v1/chat.html"}, {"protocol", a.URL() + "/im/"}}
	switch {
	case a.backend.server == nil:
		rows = append(rows, []string{"nats", "attached to " + RedactURL(a.backend.nc.ConnectedUrl())})
	case a.backend.server.URL() == "":
		rows = append(rows, []string{"nats", "embedded, no listener"})
	default:
		rows = append(rows, []string{"nats", a.backend.server.URL() + "  (credentials in " + a.backend.dir.Path("admin.json") + ")"})
	}
	if a.ops != nil {
		rows = append(rows, []string{"operations", "http://" + reachable(a.ops.Addr()) + "/readyz, /healthz, /metrics"})
	}
	rows = append(rows, []string{"data", a.backend.dir.Path()})
	if a.config.File != "" {
		rows = append(rows, []string{"config", a.config.File})
	}
	fmt.Fprintln(w, "imctl is ready")
	for _, r := range rows {
		fmt.Fprintf(w, "  %-11s %s\n", r[0], r[1])
	}
}
