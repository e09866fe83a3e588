package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"imctl/bridge/admin"
	"imctl/bridge/certs"
	"imctl/bridge/wire"
	"imctl/cmd/bench"
	"imctl/embedded"
	"imctl/kv"
)

// benchCleanup bounds how long the people who were made are removed for.
const benchCleanup = 10 * time.Minute

func newBench(env *Env) *cobra.Command {
	group := newGroup("bench", "Measure a server under load",
		newBenchDialogue(env),
		newBenchIdle(env),
		newBenchLogin(env),
		newBenchCalls(env),
		newBenchRegister(env),
		newBenchPopulate(env),
	)
	group.Long = `Measure a server under load.

The people who talk and log in are made for it through the administrator's access, and removed
afterwards, also when the command is interrupted. Should it be killed, their accounts, which
begin with bench-, stay behind.

The server's limits count for them as for everybody: set limits.logins, limits.login_failures,
limits.dialogues and limits.registrations to 0 for the time.`
	return group
}

// benchOptions are what all loads have in common.
type benchOptions struct {
	url      string
	insecure bool
	register bool
	pid      int
	plot     string
	output   outputFormat
}

func (o *benchOptions) addTo(c *cobra.Command, canRegister bool) {
	f := c.Flags()
	f.StringVar(&o.url, "url", "", "`URL` of the server (default where the configuration has it listen)")
	f.BoolVar(&o.insecure, "insecure", false, "believe any certificate, such as a self-signed one")
	f.IntVar(&o.pid, "pid", 0, "`process` of the server, to tell what it takes (default the one that has the data directory)")
	f.StringVar(&o.plot, "plot", "", "write a picture of the latencies to this `file`, an SVG")
	if canRegister {
		f.BoolVar(&o.register, "register", false, "make people by the protocol, on any server that speaks it; they stay")
	}
	o.output.addTo(f)
	addServerFlags(c)
}

// benchRun is what a load has to work with.
type benchRun struct {
	target   *bench.Target
	crowd    bench.Crowd
	server   bench.Process
	progress *bench.Progress
	config   *Config
	nc       *nats.Conn    // the administrator's; nil with --register
	admin    *admin.Client // on it
}

// runBench lets load work, removes the people that it made, and writes what came of it.
func runBench(c *cobra.Command, env *Env, o *benchOptions, load func(context.Context, *benchRun) (bench.Report, error)) (err error) {
	if o.plot != "" && !strings.EqualFold(filepath.Ext(o.plot), ".svg") {
		return wrongUse("--plot %q: the picture is an SVG, and its name has to end so", o.plot)
	}
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	r, err := o.connect(ctx, cancel, c, env)
	if err != nil {
		return err
	}
	defer r.target.Close()
	if r.nc != nil {
		defer r.nc.Close()
	}
	report, err := load(ctx, r)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = errors.Join(benchFailure(err), r.removeAll(ctx))
	r.progress.Clear()
	if err != nil {
		return err
	}
	return o.write(env, c.Name(), report)
}

func (o *benchOptions) write(env *Env, name string, report bench.Report) (err error) {
	if o.plot != "" {
		f, err := os.Create(inDir(env, o.plot))
		if err != nil {
			return err
		}
		if err := errors.Join(bench.WritePlot(f, "imctl bench "+name, report.Plot()), f.Close()); err != nil {
			return err
		}
	}
	if o.output.json() {
		return writeJSON(env.Out, report)
	}
	return writeFacts(env.Out, report.Rows())
}

// inDir is a path that was given on the command line.
func inDir(env *Env, path string) string {
	if env.Dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(env.Dir, path)
}

// connect finds the server, and how people are made on it.
func (o *benchOptions) connect(ctx context.Context, cancel context.CancelCauseFunc, c *cobra.Command, env *Env) (*benchRun, error) {
	config, err := loadConfig(env, c.Flags())
	if err != nil {
		return nil, err
	}
	r := &benchRun{config: config, progress: &bench.Progress{Terminal: terminalOf(env.Err)}, server: bench.Process{PID: o.pid}}
	address := o.url
	if address == "" {
		address = frontURL(config)
	}
	if r.target, err = bench.NewTarget(address, o.insecure); err != nil {
		return nil, wrongUse("--url: %w", err)
	}
	if o.register {
		r.crowd = &bench.Registered{Target: r.target, Password: kv.NewID()}
		return r, nil
	}
	f := finder{env: env, config: config, cancel: cancel}
	if config.NATS.Embedded() {
		if r.nc, err = f.dialDataDir(ctx); err != nil {
			return nil, &failure{code: exitNoServer, err: fmt.Errorf("no server: on the data directory %s: %w", config.Data, err),
				todo: "start one with imctl serve, or say where it is by --data, --nats or --context"}
		}
		if r.server.PID == 0 {
			r.server.PID = embedded.Owner(config.Data)
		}
	} else if r.nc, err = dialNATS(config.NATS, f.connectOptions()...); err != nil {
		return nil, dialFailure(config.NATS, err, exitNoServer)
	}
	r.admin = admin.NewClient(r.nc, config.NATS.Prefix)
	if err = r.admin.Ping(ctx); err == nil {
		r.crowd, err = administered(ctx, r.nc, config)
	}
	if err != nil {
		r.nc.Close()
		return nil, err
	}
	return r, nil
}

func administered(ctx context.Context, nc *nats.Conn, config *Config) (*bench.Administered, error) {
	bulk, err := kv.NewBulk(ctx, nc, config.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	password := kv.NewID()
	hash, err := newHasher(config).Hash(ctx, password)
	return &bench.Administered{Bulk: bulk, Hash: hash, Password: password}, err
}

// removeAll removes the people, also when the command was interrupted.
func (r *benchRun) removeAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchCleanup)
	defer cancel()
	if err := r.crowd.Remove(ctx); err != nil {
		return fmt.Errorf("accounts that begin with %s are left behind: %w", bench.AccountPrefix, err)
	}
	return nil
}

// benchFailure says what may be the reason when the server refuses.
func benchFailure(err error) error {
	var code wire.Code
	if errors.As(err, &code) {
		return &failure{code: exitFailed, err: fmt.Errorf("%w (%d)", err, int(code)), todo: "the server's limits count for bench too: see imctl bench --help"}
	}
	return err
}

// frontURL is where the configuration has the server listen, as this machine reaches it.
func frontURL(c *Config) string {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return c.Listen // the configuration's check has let nothing such through
	}
	ip := net.ParseIP(host)
	scheme := "https"
	if c.TLS.Mode == certs.ModeOff || c.TLS.Mode == certs.ModeAuto && (strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()) {
		scheme = "http"
	}
	if host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// terminalOf is w where somebody watches it, else nil.
func terminalOf(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
