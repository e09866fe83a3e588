package cmd

import (
	"cmp"
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

// benchCleanupTimeout limits the removal of the test accounts.
const benchCleanupTimeout = 10 * time.Minute

func newBench(env *Env) *cobra.Command {
	group := newGroup("bench", "Measure the performance of a server",
		newBenchDialogue(env),
		newBenchIdle(env),
		newBenchLogin(env),
		newBenchCalls(env),
		newBenchHistory(env),
		newBenchRegister(env),
		newBenchPopulate(env),
	)
	group.Long = `Measure the performance of a server under load.

The commands create test accounts with administrator access, and delete them at the end, also after an
interrupt. If a command is killed, its accounts remain. Their names begin with bench-.

The limits of the server apply to the test accounts. Set limits.dialogues, limits.logins and
limits.registrations to 0 during a measurement: all test accounts have the same address.`
	return group
}

// benchOptions are the flags of all bench commands.
type benchOptions struct {
	urls     []string
	one      bool // the command measures one server
	insecure bool
	register bool
	pids     []int
	plot     string
	output   outputFormat
}

func (o *benchOptions) addTo(c *cobra.Command, canRegister bool) {
	f := c.Flags()
	f.StringSliceVar(&o.urls, "url", nil, "`URL` of the server (default is the configured listener); repeat it for the servers of a cluster")
	f.BoolVar(&o.insecure, "insecure", false, "do not verify the certificate of the server")
	f.IntSliceVar(&o.pids, "pid", nil, "process `ID` of the server, to measure CPU and memory (default is the server of the data directory); repeat it to add up several processes")
	f.StringVar(&o.plot, "plot", "", "plot the latencies to this SVG `file`")
	if canRegister {
		f.BoolVar(&o.register, "register", false, "register the accounts through the protocol, without administrator access; they are not deleted")
	}
	o.output.addTo(f)
	addServerFlags(c)
}

// benchRun holds what a bench command needs for its run.
type benchRun struct {
	target   *bench.Target
	crowd    bench.Crowd
	server   bench.Process
	progress *bench.Progress
	config   *Config
	nc       *nats.Conn    // connection of the administrator; nil with --register
	admin    *admin.Client // uses nc
	written  *bench.Talks  // conversations to erase; nil: none
}

// runBench runs load, removes the test accounts, and writes the report.
func runBench(c *cobra.Command, env *Env, o *benchOptions, load func(context.Context, *benchRun) (bench.Report, error)) (err error) {
	if o.plot != "" && !strings.EqualFold(filepath.Ext(o.plot), ".svg") {
		return usageErrorf("--plot %q: the file name must end in .svg", o.plot)
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
		f, err := os.Create(env.path(o.plot))
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
	return writeFields(env.Out, report.Rows())
}

// connect connects to the server, and selects how test accounts are created on it.
func (o *benchOptions) connect(ctx context.Context, cancel context.CancelCauseFunc, c *cobra.Command, env *Env) (*benchRun, error) {
	config, err := loadConfig(env, c.Flags())
	if err != nil {
		return nil, err
	}
	r := &benchRun{config: config, progress: &bench.Progress{Terminal: terminalOf(env.Err)}, server: bench.Process{PIDs: o.pids}}
	addresses := o.urls
	switch {
	case len(addresses) == 0:
		addresses = []string{frontURL(config)}
	case len(addresses) > 1 && o.one:
		return nil, usageErrorf("--url: this command measures one server")
	}
	if r.target, err = bench.NewTarget(o.insecure, addresses...); err != nil {
		return nil, usageErrorf("--url: %w", err)
	}
	if o.register {
		r.crowd = &bench.Registered{Target: r.target, Password: kv.NewID()}
		return r, nil
	}
	d := dialer{env: env, config: config, cancel: cancel}
	if config.NATS.Embedded() {
		if r.nc, err = d.dialDataDir(ctx); err != nil {
			return nil, &failure{exitNoServer, fmt.Errorf("no server found: data directory %s: %w", config.Data, err), noServerRemedy}
		}
		if pid := embedded.Owner(config.Data); len(r.server.PIDs) == 0 && pid > 0 {
			r.server.PIDs = []int{pid}
		}
	} else if r.nc, err = dialNATS(config.NATS, d.connectOptions()...); err != nil {
		return nil, dialFailure(config.NATS, err, exitNoServer)
	}
	r.admin = admin.NewClient(r.nc, config.NATS.Prefix)
	if err = r.admin.Ping(ctx); err == nil {
		r.crowd, err = newAdministered(ctx, r.nc, config)
	}
	if err != nil {
		r.nc.Close()
		return nil, err
	}
	return r, nil
}

// newAdministered returns a crowd with one password for all accounts.
func newAdministered(ctx context.Context, nc *nats.Conn, config *Config) (*bench.Administered, error) {
	bulk, err := kv.NewBulk(ctx, nc, config.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	password := kv.NewID()
	hash, err := newHasher(config, nil).Hash(ctx, password)
	return &bench.Administered{Bulk: bulk, Hash: hash, Password: password}, err
}

// talks returns the writer of conversations. removeAll erases what it has written.
func (r *benchRun) talks(ctx context.Context) (*bench.Talks, error) {
	if r.nc == nil {
		return nil, usageErrorf("conversations need administrator access: omit --register")
	}
	talks, err := kv.OpenTalks(ctx, r.nc, r.config.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	if talks == nil {
		return nil, &failure{code: exitFailed, err: errors.New("the server keeps no conversations"), remedy: "set dialogues.keep"}
	}
	r.written = &bench.Talks{NC: r.nc, Talks: talks}
	return r.written, nil
}

// removeAll removes the test accounts, even if ctx has ended.
func (r *benchRun) removeAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchCleanupTimeout)
	defer cancel()
	if r.written != nil {
		if err := r.written.Remove(ctx); err != nil {
			return err
		}
	}
	if err := r.crowd.Remove(ctx); err != nil {
		return fmt.Errorf("cannot delete all test accounts (%s*): %w", bench.AccountPrefix, err)
	}
	return nil
}

// benchFailure adds the likely remedy to an error code of the server.
func benchFailure(err error) error {
	var code wire.Code
	if !errors.As(err, &code) {
		return err
	}
	remedy := "the limits of the server apply to bench; see imctl bench --help"
	switch {
	case code != wire.ProtocolError:
	case errors.Is(err, bench.ErrLogin):
		remedy = "limits.logins of the server may be reached: wait, or set it to 0 there"
	case errors.Is(err, bench.ErrRegister):
		remedy = "limits.registrations of the server may be reached: wait, or set it to 0 there"
	}
	return &failure{code: exitFailed, err: err, remedy: remedy}
}

// dialogueLimit returns how limits.dialogues has limited a measurement, "" if it has not.
func dialogueLimit(limit Rate, r *bench.DialogueReport) string {
	if limit.Count == 0 {
		return ""
	}
	users, each := float64(2*r.Pairs), float64(limit.Count)/limit.Per.Seconds()
	allowed := users * (each + float64(limit.Count)/r.Seconds) // a session begins with the dialogues of one unit of time
	if r.Rate > 0 && r.Rate <= users*each || r.Answered > allowed {
		return ""
	}
	return fmt.Sprintf("limits.dialogues: %s for each of %.0f sessions; set it to 0 on the server to measure more", limit, users)
}

// frontURL returns the URL of the configured listener for a client on this machine.
func frontURL(c *Config) string {
	if strings.HasPrefix(c.Listen, unixPrefix) {
		return cmp.Or(c.HTTP.URL, c.Listen) // bench reaches a Unix socket through its proxy
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return c.Listen // Load rejects such an address
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

// terminalOf returns w if it is a terminal, or nil.
func terminalOf(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
