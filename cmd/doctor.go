package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/embedded"
)

// The levels of a finding.
const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "fail"
)

// finding is the result of one check.
type finding struct {
	Level  string `json:"level"` // ok, warn or fail
	Check  string `json:"check"` // what was checked: config, data, disk, …
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"` // the command or the line of the configuration that mends it
}

// String returns the line of the finding.
func (f finding) String() string {
	line := fmt.Sprintf("%-4s  %-11s %s", f.Level, f.Check, f.Text)
	if f.Remedy != "" {
		line += "  -> " + f.Remedy
	}
	return printable(line)
}

// doctor checks an installation. It changes nothing.
type doctor struct {
	env     *Env
	machine machine
	config  *Config
	now     time.Time
	server  *nats.Conn // nil if no server runs
	pid     int        // of the process that has the data directory, 0 if it is unknown
	found   []finding
}

func (d *doctor) add(level, check, remedy, format string, args ...any) {
	d.found = append(d.found, finding{level, check, fmt.Sprintf(format, args...), remedy})
}

func (d *doctor) ok(check, format string, args ...any) { d.add(levelOK, check, "", format, args...) }

func newDoctor(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong with an installation, and how to mend it",
		Long: `Check the configuration, the data directory, certificates, disk, clock, limits of the system, ports, NATS,
streams, backups, proxies and versions. The server may be running or stopped. Nothing is changed.

Each finding is one line: ok, warn or fail, what was checked, what was found, and after an arrow the command
or the setting that mends it. With -o json each finding is one JSON object on a line.

Exit with 1 if a check fails. Run it as root or as the user of the server: other users cannot read the
data directory.`,
		Example: "  imctl doctor\n  imctl doctor --config /etc/imctl/config.yaml\n  imctl doctor -o json | jq 'select(.level != \"ok\")'",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := loadConfig(env, c.Flags())
			var mistakes Mistakes
			if err != nil && !errors.As(err, &mistakes) {
				return err
			}
			d := &doctor{env: env, machine: thisMachine(), config: config, now: time.Now()}
			d.run(c.Context(), mistakes)
			return d.report(output)
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// run makes all checks. Without a valid configuration it makes no other one.
func (d *doctor) run(ctx context.Context, mistakes Mistakes) {
	if !d.checkConfig(mistakes) {
		return
	}
	d.checkData()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	disconnect := d.connect(ctx, cancel)
	defer disconnect()
	d.checkDisk()
	d.checkCertificates()
	d.checkClock()
	d.checkLimits()
	d.checkPorts()
	d.checkBackups()
	if d.server != nil {
		d.checkServer(ctx)
	}
}

// connect connects to the running server, if there is one.
func (d *doctor) connect(ctx context.Context, cancel context.CancelCauseFunc) (disconnect func()) {
	dial := dialer{env: d.env, config: d.config, cancel: cancel, timeout: connectTimeout}
	var err error
	if d.config.NATS.Embedded() {
		d.pid = embedded.Owner(d.config.Data)
		d.server, err = dial.dialDataDir(ctx)
		d.reportServer(err)
	} else {
		d.server, err = dialNATS(d.config.NATS, dial.connectOptions()...)
		d.reportNATS(ctx, err)
	}
	if d.server == nil {
		return func() {}
	}
	return d.server.Close
}

// reportServer reports whether the server runs on the data directory.
func (d *doctor) reportServer(err error) {
	switch {
	case err == nil:
		d.ok("server", "running as process %d", d.pid)
	case d.pid > 0 && d.machine.holds(d.pid, embedded.LockFile(d.config.Data)):
		d.add(levelFail, "server", "look at its log, then restart it: journalctl -u imctl -n 50; systemctl restart imctl",
			"process %d has the data directory and does not answer: %s", d.pid, oneLine(err))
	default:
		d.pid = 0
		d.add(levelWarn, "server", "systemctl start imctl, or imctl serve", "no server is running, so its state was not checked")
	}
}

// report writes the findings. The error counts those that fail.
func (d *doctor) report(output outputFormat) error {
	fails, warns := 0, 0
	for _, f := range d.found {
		switch f.Level {
		case levelFail:
			fails++
		case levelWarn:
			warns++
		}
		if output.json() {
			if err := writeJSON(d.env.Out, f); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintln(d.env.Out, f); err != nil {
			return err
		}
	}
	if fails == 0 {
		return nil
	}
	text := plural(fails, "check") + " failed"
	if warns > 0 {
		text += ", " + plural(warns, "warning")
	}
	return &failure{code: exitFailed, err: errors.New(text)}
}

// checkConfig reports the mistakes of the configuration, and returns whether it is valid.
func (d *doctor) checkConfig(mistakes Mistakes) bool {
	if len(mistakes) == 0 {
		mistakes = d.config.checkFiles()
	}
	for _, m := range mistakes {
		d.add(levelFail, "config", "correct "+m.Where+", then run imctl check", "%s", m)
	}
	if len(mistakes) > 0 {
		return d.config != nil
	}
	name := d.config.File
	if name == "" {
		name = "no file, the defaults"
	}
	d.ok("config", "%s", name)
	return true
}

// humanBytes returns bytes for people, such as 1.5 GiB.
func humanBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1024, 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + string(units[u]) + "iB"
}

// humanAge returns a duration for people, such as 3 d 4 h.
func humanAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(max(0, d).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < day:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d/day), int(d%day/time.Hour))
}
