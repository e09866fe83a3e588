package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	agefile "filippo.io/age" // the package has a function age
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// backupParts are the files and folders of a data directory, besides streams, that a backup includes.
var backupParts = [...]string{"admin.json", "tls", "keys"}

// backupReport lists the contents of a backup.
type backupReport struct {
	File     string         `json:"file"`
	Streams  []backupStream `json:"streams"`
	Files    int            `json:"files"`              // number of files from the data directory
	Accounts *int           `json:"accounts,omitempty"` // nil in a backup of an older version, or of its data
}

type backupStream struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"` // size of the snapshot
}

func newBackup(env *Env) *cobra.Command {
	var output outputFormat
	var every durationFlag
	force, keep, to := false, Defaults().Backup.Keep, []string(nil)
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Back up all durable data to a file",
		Long: `Back up all durable data to FILE, or to standard output if FILE is -. The server may be running.

A backup contains the streams of users, tokens and friendships, the audit trail, and the log with the
entries that its consumers have not acknowledged. If the data directory is on this machine, it also
contains the administrator's credentials, the certificates and the keys.

The streams are captured one after the other, each at one point in time. The file has a checksum. It
contains secrets and is readable by its owner only. Use imctl restore to restore it.

With --recipient the backup is encrypted, and only the secret key of a recipient can restore it. The file
is in the format of age (https://age-encryption.org). A file is read back and verified before it gets its
name.

With --every the argument is a directory. If its newest backup is older than that, the command makes one,
removes the oldest ones beyond --keep, and exits: run it hourly from a timer or from cron. Without
--recipient it encrypts to backup.recipients of the configuration. A server with the setting backup.dir
makes such backups itself, and needs no timer.`,
		Example: `  imctl backup imctl-$(date +%F).tar
  imctl backup --recipient age1… imctl-$(date +%F).tar.age
  imctl backup --every 24h --keep 7 /var/backups/imctl
  imctl backup - | ssh backup.example.org 'cat > imctl.tar'`,
		Args: exactArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			recipients, err := parseRecipients(to)
			if err != nil {
				return usageErrorf("--recipient: %w", err)
			}
			if !every.set {
				if c.Flags().Changed("keep") {
					return usageErrorf("--keep requires --every")
				}
				return backupToFile(c, env, output, args[0], force, recipients)
			}
			if force || args[0] == pipeName {
				return usageErrorf("--every requires a directory, and no --force")
			}
			if err := between(1, maxBackups)(keep); err != nil {
				return usageErrorf("--keep %w", err)
			}
			return backupToDir(c, env, output, backupDir{path: env.path(args[0]), keep: keep, to: recipients}, every.d)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace an existing file")
	c.Flags().StringArrayVar(&to, "recipient", nil, "encrypt to this public `key` of age or SSH; may be repeated")
	c.Flags().Var(&every, "every", "make a backup in the directory FILE if the newest one is older than this `time`")
	c.Flags().IntVar(&keep, "keep", keep, "with --every, keep this `number` of backups in the directory")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// durationFlag is the value of a flag with the durations of the configuration, such as 30d.
type durationFlag struct {
	d   time.Duration
	set bool
}

// String implements pflag.Value.
func (f *durationFlag) String() string {
	if !f.set {
		return ""
	}
	return formatDuration(f.d)
}

// Set implements pflag.Value.
func (f *durationFlag) Set(s string) (err error) {
	if f.d, err = parseDuration(s); err != nil {
		return err
	}
	f.set = true
	return between(time.Duration(0), maxBackupEvery)(f.d)
}

// Type implements pflag.Value.
func (f *durationFlag) Type() string { return "time" }

// backupToFile writes a backup to a file, or to standard output.
func backupToFile(c *cobra.Command, env *Env, output outputFormat, name string, force bool, to []agefile.Recipient) error {
	if name == pipeName {
		if terminalOf(env.Out) != nil {
			return usageErrorf("a backup is not written to a terminal: name a file, or redirect standard output")
		}
		return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
			b := backup{progress: startProgress(env), nc: nc, config: config, check: true, step: env.stepDone}
			defer b.progress.stop()
			sealed, err := sealWriter(env.Out, to)
			if err != nil {
				return err
			}
			if err := errors.Join(b.write(ctx, sealed), sealed.Close()); err != nil {
				return err
			}
			b.warnEmpty(env)
			return nil
		})
	}
	file, err := createPrivate(env.path(name), force)
	if err != nil {
		return err
	}
	defer file.Discard()
	return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
		b := backup{progress: startProgress(env), nc: nc, config: config, step: env.stepDone}
		defer b.progress.stop()
		if err := b.writeFile(ctx, file, to); err != nil {
			return err
		}
		if err := file.Commit(); err != nil {
			return err
		}
		b.progress.stop()
		b.warnEmpty(env)
		b.report.File = name
		return writeBackupReport(env.Out, output, b.report)
	})
}

// backupToDir makes a backup in a directory if the newest one is older than every.
func backupToDir(c *cobra.Command, env *Env, output outputFormat, d backupDir, every time.Duration) error {
	config, err := loadConfig(env, c.Flags())
	if err != nil {
		return err
	}
	d.prefix = config.NATS.Prefix
	if len(d.to) == 0 {
		if d.to, err = parseRecipients(config.Backup.Recipients); err != nil {
			return err
		}
	}
	newest, err := asOwner(d.path, d.newest)
	if err != nil {
		return err
	}
	// A timer does not run at the same moment each day.
	if slack := every / 20; newest.name != "" && time.Since(newest.time).Abs() < every-slack {
		if output.json() {
			return writeJSON(env.Out, backupReport{File: newest.name, Streams: []backupStream{}})
		}
		_, err := fmt.Fprintf(env.Out, "no backup is due: %s is not older than %s\n", d.file(newest.name), formatDuration(every))
		return err
	}
	return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
		b := backup{progress: startProgress(env), nc: nc, config: config, step: env.stepDone}
		defer b.progress.stop()
		made, err := asOwner(d.path, func() (madeBackup, error) { return d.make(ctx, &b) })
		b.progress.stop()
		if made.file != "" {
			b.warnEmpty(env)
			b.report.File = made.file
			err = errors.Join(err, writeBackupReport(env.Out, output, b.report))
		}
		return err
	})
}

func writeBackupReport(w io.Writer, output outputFormat, r backupReport) error {
	if output.json() {
		return writeJSON(w, r)
	}
	rows := make([][]string, len(r.Streams))
	for i, s := range r.Streams {
		rows[i] = []string{s.Name, fmt.Sprint(s.Messages), fmt.Sprint(s.Bytes)}
	}
	return newTable(w, "stream", "messages", "bytes").write(rows...)
}

// backup is a backup in progress.
type backup struct {
	progress *progressLine
	nc       *nats.Conn
	config   *Config
	// pace limits the bytes per second that are read from the server, and then those of the verification. nil sets no
	// limit.
	pace *backupPace
	// check has a NATS server before 2.15 check all messages of a stream before it sends them, which stops writes to the
	// stream meanwhile. A backup that is verified does not need it.
	check  bool
	step   func(name string) // called after each step; only tests use it
	report backupReport
	tar    *backupWriter
}

// warnEmpty writes a warning if the backup has no accounts: its data directory may be the wrong one.
func (b *backup) warnEmpty(env *Env) {
	if b.report.Accounts != nil && *b.report.Accounts == 0 {
		fmt.Fprintf(env.Err, "imctl: warning: %s has no accounts, so the backup is empty; select another server with --data, --nats or --context\n", b.place())
	}
}

// place names what is backed up.
func (b *backup) place() string {
	if b.config.NATS.Embedded() {
		return "data directory " + b.config.Data
	}
	return serverName(b.config.NATS)
}

func (b *backup) write(ctx context.Context, out io.Writer) error {
	before, _, err := readState(ctx, b.nc, b.config.NATS.Prefix)
	if err != nil {
		return err
	}
	if before.Restore != nil {
		return completeFailure(b.config, fmt.Errorf("%w: %s", kv.ErrRestoreUnfinished, before.Restore))
	}
	names, err := b.streams(ctx)
	if err != nil {
		return err
	}
	if b.report.Accounts, err = b.accounts(ctx); err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	b.tar = newBackupWriter(out, now)
	err = b.tar.addJSON(manifestEntry, manifest{Format: backupFormat, Created: now, Version: readBuildInfo().Version, Prefix: b.config.NATS.Prefix,
		Streams: names, Accounts: b.report.Accounts})
	if err == nil && b.config.NATS.Embedded() {
		_, err = asOwner(b.config.Data, func() (struct{}, error) { return struct{}{}, b.addFiles() })
	}
	for _, name := range names {
		if err == nil {
			err = b.addStream(ctx, name)
		}
	}
	if err == nil {
		err = b.checkUnchanged(ctx, before)
	}
	if err == nil {
		err = b.tar.close()
	}
	return err
}

// accounts returns the number of accounts. It is nil if only servers of a version without a state have written them.
func (b *backup) accounts(ctx context.Context) (*int, error) {
	store, err := kv.FindStore(ctx, b.nc, b.config.NATS.Prefix)
	if errors.Is(err, kv.ErrNoState) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := store.Users.Count(ctx)
	return &n, err
}

// checkUnchanged returns an error if a restore has replaced the streams since before. Such a backup would mix old and
// new streams.
func (b *backup) checkUnchanged(ctx context.Context, before kv.State) error {
	now, _, err := readState(ctx, b.nc, b.config.NATS.Prefix)
	if err == nil && (now.Restore != nil || now.Slot != before.Slot) {
		err = errors.New("a restore replaced the streams during the backup; run the backup again")
	}
	return err
}

// streams returns the names of the existing streams. The stream of the log does not exist before the first start of a
// server. The stream of files is left out while it is empty: versions that know of no files can then restore the
// backup. The events that webhooks have not posted are left out: a restore must not post them again.
func (b *backup) streams(ctx context.Context) ([]string, error) {
	js, err := natsutil.JetStream(b.nc)
	if err != nil {
		return nil, err
	}
	infos, err := readStreams(ctx, js, b.config.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	files, webhooks := subject.Prefix(b.config.NATS.Prefix).FileStream(), subject.Prefix(b.config.NATS.Prefix).WebhookStream()
	var names []string
	for _, i := range infos {
		if i.State != "missing" && (i.Messages > 0 || i.Name != files) && i.Name != webhooks {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return nil, &failure{code: exitNotFound, err: fmt.Errorf("no streams with nats.prefix %s", b.config.NATS.Prefix)}
	}
	return names, nil
}

// addStream adds a snapshot of a stream.
func (b *backup) addStream(ctx context.Context, name string) error {
	folder := streamsFolder + name + "/"
	report := backupStream{Name: name}
	pieces, last, raw := 0, uint64(0), rawSize{}
	err := takeSnapshot(ctx, b.nc, name, snapshotOptions{b.check, b.pace != nil}, func(s streamSnapshot) error {
		state, err := s.state()
		if err != nil {
			return err
		}
		report.Messages, last = state.Messages, state.Last
		return b.tar.addJSON(folder+streamEntry, s)
	}, func(piece []byte) error {
		pieces++
		report.Bytes += int64(len(piece))
		b.progress.update("%s: %s", name, Size(report.Bytes))
		if err := b.pace.wait(ctx, len(piece), raw.add(piece)); err != nil {
			return err
		}
		return b.tar.add(fmt.Sprintf("%s%08d", folder, pieces), piece)
	})
	if err == nil && strings.HasPrefix(name, subject.BucketStream("")) {
		err = b.addTail(ctx, name, last)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	b.report.Streams = append(b.report.Streams, report)
	b.step(name)
	return nil
}

// addFiles adds the files of the data directory other than streams, if the directory is on this machine.
func (b *backup) addFiles() error {
	data := b.config.Data
	add := func(file string) error {
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(data, file)
		if err != nil {
			return err
		}
		b.report.Files++
		return b.tar.add(path.Join(filesFolder, filepath.ToSlash(name)), content)
	}
	for _, part := range backupParts {
		err := filepath.WalkDir(filepath.Join(data, part), func(file string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			return add(file)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
