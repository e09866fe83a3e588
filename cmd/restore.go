package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/embedded"
	"imctl/kv"
)

func newRestore(env *Env) *cobra.Command {
	var output outputFormat
	yes, complete, verify, identity := false, false, false, ""
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a backup",
		Long: `Restore FILE, or standard input if FILE is -. A restore replaces users, tokens, friendships and the log
with its consumers. In a data directory it also replaces the administrator's credentials, the certificates
and the keys. The checksum of the file is verified first.

A restore either completes or leaves the old data unchanged. It fills new streams beside the streams in
use, checks them, and swaps them. It can be interrupted at any time before the swap. If it is interrupted
during the swap, servers neither start nor serve clients until imctl restore --complete has completed the
restore. That command does not need FILE.

The command asks for confirmation before it replaces the data of a running server, or of a data directory
that is not empty. The server may be part of a cluster or attached to a NATS server. A restore into a
running server ends all sessions. It does not restore tokens, so all clients must log in again.

A backup of a single server can be restored in a cluster and vice versa. nats.replicas sets the number of
replicas of each stream.

A restore from standard input or into a running server needs space for the backup in the directory for
temporary files (TMPDIR).

An encrypted backup needs the secret key of one of its recipients: --identity names a file with keys of
age, or a key of SSH. The command asks for the passphrase of a backup or of a key that was encrypted with
one.

With --verify the command reads the whole backup and every message in it, reports what it contains, and
changes nothing. It exits with 1 if the backup is damaged.`,
		Example: `  imctl restore imctl-2026-01-02.tar --data new
  imctl restore imctl-2026-01-02.tar --context cluster --yes
  ssh old imctl backup - | imctl restore - --data new
  imctl restore --verify --identity key.txt imctl.tar.age
  imctl restore --complete`,
		Args: func(c *cobra.Command, args []string) error {
			if complete {
				return checkArgCount(0, args)
			}
			return exactArgs("FILE")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if complete && (verify || identity != "") {
				return usageErrorf("--complete needs no backup: leave out --verify and --identity")
			}
			if verify {
				return runVerify(c.Context(), env, args[0], identity, output)
			}
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			if complete {
				return runComplete(c.Context(), env, config, output)
			}
			file, err := openBackup(c.Context(), env, args[0], identity)
			if err != nil {
				return err
			}
			defer file.Close()
			r := restorer{env: env, config: config, file: file, progress: startProgress(env), report: backupReport{File: args[0]}}
			if r.manifest, err = checkBackup(file, nil); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if r.manifest.Prefix != config.NATS.Prefix {
				return usageErrorf("%s has nats.prefix %s, but the configuration has %s", args[0], r.manifest.Prefix, config.NATS.Prefix)
			}
			r.report.Accounts = r.manifest.Accounts
			err = r.run(c, yes)
			r.progress.stop()
			if err != nil {
				return err
			}
			return writeBackupReport(env.Out, output, r.report)
		},
	}
	addYesFlag(c, &yes)
	c.Flags().BoolVar(&complete, "complete", false, "complete an interrupted restore")
	c.Flags().BoolVar(&verify, "verify", false, "read and check the backup, and change nothing")
	c.Flags().StringVar(&identity, "identity", "", "`file` with the secret key for an encrypted backup")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// verifyReport is the report of restore --verify.
type verifyReport struct {
	backupReport
	Created time.Time `json:"created"`
	Version string    `json:"version"` // version of imctl that made the backup
	Prefix  string    `json:"prefix"`  // nats.prefix
}

// runVerify reads and checks a backup.
func runVerify(ctx context.Context, env *Env, name, identity string, output outputFormat) error {
	file, err := openBackup(ctx, env, name, identity)
	if err != nil {
		return err
	}
	defer file.Close()
	m, report, err := verifyBackup(ctx, file, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	report.File = name
	if output.json() {
		return writeJSON(env.Out, verifyReport{report, m.Created, m.Version, m.Prefix})
	}
	accounts := "-"
	if m.Accounts != nil {
		accounts = fmt.Sprint(*m.Accounts)
	}
	err = writeFields(env.Out, [][]string{{"backup", "OK"}, {"created", localTime(m.Created)}, {"version", orDash(m.Version)}, {"prefix", m.Prefix}, {"accounts", accounts},
		{"files", fmt.Sprint(report.Files)}})
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	return writeBackupReport(env.Out, output, report)
}

// restorer is a restore in progress.
type restorer struct {
	env      *Env
	config   *Config
	file     io.ReadSeeker
	manifest manifest
	progress *progressLine
	report   backupReport
	contents kv.Contents // of the staged streams
}

// run restores into a data directory without a running server, or into a running server.
func (r *restorer) run(c *cobra.Command, yes bool) error {
	data := r.config.Data
	question := func(place string) string {
		return fmt.Sprintf("Replace all data of %s with the backup of %s?", place, r.manifest.Created.Local().Format(time.DateTime))
	}
	if !r.config.NATS.Embedded() {
		if err := confirm(c.Context(), r.env, yes, question(serverName(r.config.NATS))); err != nil {
			return err
		}
		return withServer(c, r.env, r.intoServer)
	}
	if err := embedded.CheckDir(data); err != nil {
		return dirFailure(data, exitFailed, err)
	}
	if err := checkSwapped(data, r.config); err != nil {
		return err
	}
	empty, err := isEmptyDir(data)
	if err != nil {
		return err
	}
	if !empty {
		if err := confirm(c.Context(), r.env, yes, question("the server in "+data)); err != nil {
			return err
		}
	}
	dir, closeDir, err := openOwnDir(data)
	if errors.Is(err, embedded.ErrDirInUse) {
		return withServer(c, r.env, r.intoServer)
	}
	if err != nil {
		return err
	}
	if node, err := r.config.isNode(); err != nil || node {
		return errors.Join(err, nodeFailure(r.config), closeDir())
	}
	return errors.Join(r.intoDir(c.Context(), dir), closeDir())
}

// isEmptyDir reports whether a data directory is missing, or contains only its lock, the staging folder of an
// interrupted restore, and the folder that fsck makes.
func isEmptyDir(path string) (bool, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("data directory: %w", err)
	}
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !slices.Contains([]string{"lock", stagingFolder, "lost+found"}, e.Name())
	}), nil
}

// storeOptions returns the options of the buckets.
func storeOptions(c *Config) kv.Options {
	return kv.Options{Prefix: c.NATS.Prefix, Talks: talksOptions(c), Files: filesOptions(c), Replicas: c.NATS.replicas(), TokenTTL: c.Tokens.TTL, TokenMaxAge: c.Tokens.MaxAge, MaxFriends: c.Limits.Friends, MaxRequests: c.Limits.Requests}
}

// stagedNATS is a NATS server of the restore command with the checked streams of the backup.
type stagedNATS struct {
	dir    *embedded.Dir
	server *embedded.Server
	nc     *nats.Conn
}

// stage starts a NATS server in the directory path and restores the streams there. The server does not sync each write.
// stage opens the buckets, which upgrades them to the format of this version, and reads every record.
func (r *restorer) stage(ctx context.Context, path string) (_ *stagedNATS, err error) {
	var s stagedNATS
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	if s.dir, err = embedded.OpenDir(path); err != nil {
		return nil, err
	}
	log := newLogger(r.env.Err, LogConfig{Level: "error", Format: "text"}, new(slog.LevelVar))
	if s.server, err = embedded.Start(ctx, embedded.Options{Dir: s.dir, Sync: time.Minute, Log: log}); err != nil {
		return nil, err
	}
	if s.nc, err = s.server.Connect("imctl restore"); err != nil {
		return nil, err
	}
	if err := eachStream(r.file, func(stream string, b *backedUpStream) error { return r.stageStream(ctx, s.nc, stream, b) }); err != nil {
		return nil, err
	}
	if err := r.restoreTails(ctx, s.nc); err != nil {
		return nil, err
	}
	r.env.stepDone("streams staged")
	o := storeOptions(r.config)
	o.Replicas = 1
	if _, err := kv.Adopt(ctx, s.nc, o, logStream(o.Prefix), subject.Prefix(o.Prefix).AuditStream(), subject.Prefix(o.Prefix).TalkStream(), subject.Prefix(o.Prefix).FileStream()); err != nil {
		return nil, markDamage(err)
	}
	store, err := kv.Open(ctx, s.nc, o)
	if err != nil {
		return nil, err
	}
	if err := natsauth.ReconcileConsumers(ctx, s.nc, store, o.Prefix); err != nil {
		return nil, err
	}
	r.progress.update("reading every record")
	contents, err := kv.Inspect(ctx, s.nc, o.Prefix)
	if err != nil {
		return nil, err
	}
	r.contents = contents
	return &s, nil
}

// markDamage marks the error for a missing stream as damage of the backup.
func markDamage(err error) error {
	if errors.Is(err, kv.ErrStagedDiffers) {
		return fmt.Errorf("%w: %w", errBackup, err)
	}
	return err
}

func (s *stagedNATS) close(ctx context.Context) error {
	var failed []error
	if s.nc != nil {
		s.nc.Close()
	}
	if s.server != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreWait) // the server may still have much to write
		defer cancel()
		failed = append(failed, s.server.Shutdown(stop))
	}
	if s.dir != nil {
		failed = append(failed, s.dir.Close())
	}
	return errors.Join(failed...)
}

// stageStream restores one stream in the NATS server of the restore command.
func (r *restorer) stageStream(ctx context.Context, nc *nats.Conn, stream string, s *backedUpStream) error {
	if !slices.Contains(restorableStreams(r.config.NATS.Prefix), stream) {
		return errBackup
	}
	single := r.config.NATS
	single.Replicas = 1
	var err error
	if s.Config, err = withReplicas(stream, single, s.Config); err != nil {
		return err
	}
	report := backupStream{Name: stream}
	err = putSnapshot(ctx, nc, stream, s.streamSnapshot, func() ([]byte, error) {
		piece, err := s.next()
		report.Bytes += int64(len(piece))
		r.progress.update("%s: %s", stream, Size(report.Bytes))
		return piece, err
	})
	if err != nil {
		return err
	}
	state, err := s.state()
	if err != nil {
		return err
	}
	report.Messages = state.Messages
	r.report.Streams = append(r.report.Streams, report)
	return nil
}

// restorableStreams returns the names of the streams that a backup may contain.
func restorableStreams(prefix string) []string {
	p := subject.Prefix(prefix)
	all := []string{p.StateStream(), p.LogStream(), p.AuditStream(), p.TalkStream(), p.FileStream()}
	for _, slot := range subject.Slots() {
		all = append(all, p.Buckets(slot).Streams()...)
	}
	return all
}

// withReplicas returns the configuration of a restored stream with c.replicas replicas. A single replica of tokens is
// written asynchronously, which NATS does not support for more replicas.
func withReplicas(stream string, c NATSConfig, config json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, errBackup
	}
	fields["num_replicas"] = json.RawMessage(fmt.Sprint(c.replicas()))
	delete(fields, "persist_mode")
	if c.replicas() == 1 && strings.HasPrefix(stream, subject.BucketStream(subject.Prefix(c.Prefix).Buckets("").Tokens)) {
		fields["persist_mode"] = json.RawMessage(`"async"`)
	}
	return json.Marshal(fields)
}
