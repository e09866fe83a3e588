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
	"imctl/embedded"
	"imctl/kv"
)

func newRestore(env *Env) *cobra.Command {
	var output outputFormat
	yes, complete := false, false
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a backup",
		Long: `Restore FILE, a backup of imctl backup, or standard input for -: users, tokens, friendships, the log with
its consumers, and in a data directory the administrator's credentials, certificates and keys.

A restore either completes or leaves the old data alone: it fills new streams beside those in use, checks
them, and swaps them. Before the swap it may be interrupted at any moment. If it is interrupted during the
swap, the server refuses to work until imctl restore --complete has completed the restore. That command
does not need the file.

A restore into a data directory that is not empty, or into a running server, replaces its data. The
command asks first, unless --yes is given. The server may be part of a cluster or attached to another
NATS. In a running server only the streams are restored. All sessions end at the swap, and since tokens
are not restored, all clients log in again.

A backup of a single server can be restored in a cluster, and the other way round: nats.replicas sets the
number of copies of each stream.

The file's checksum is verified before anything is changed. Standard input, and a restore into a running
server, need space for the backup in the directory for temporary files (TMPDIR).`,
		Example: `  imctl restore imctl-2026-01-02.tar --data new
  imctl restore imctl-2026-01-02.tar --context cluster --yes
  ssh old imctl backup - | imctl restore - --data new
  imctl restore --complete`,
		Args: func(c *cobra.Command, args []string) error {
			if complete {
				return atMost(0, args)
			}
			return wants("FILE")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			if complete {
				return runComplete(c.Context(), env, config, output)
			}
			file, err := openBackup(env, args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			r := restoring{env: env, config: config, file: file, progress: startProgress(env), report: backupReport{File: args[0]}}
			if r.manifest, err = checkBackup(file); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if r.manifest.Prefix != config.NATS.Prefix {
				return wrongUse("%s is of nats.prefix %s, and the configuration says %s", args[0], r.manifest.Prefix, config.NATS.Prefix)
			}
			err = r.run(c, yes)
			r.progress.stop()
			if err != nil {
				return err
			}
			return writeBackupReport(env.Out, output, r.report)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&complete, "complete", false, "complete an interrupted restore")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// restoring is a restore under way.
type restoring struct {
	env      *Env
	config   *Config
	file     io.ReadSeeker
	manifest manifest
	progress *progressLine
	report   backupReport
	contents kv.Contents // of the staged streams
}

// run restores into a data directory that no server uses, or into a running server.
func (r *restoring) run(c *cobra.Command, yes bool) error {
	data := r.config.Data
	question := fmt.Sprintf("Replace all that the server of %s has by the backup of %s?", data, r.manifest.Created.Local().Format(time.DateTime))
	if !r.config.NATS.Embedded() {
		if err := confirm(c.Context(), r.env, yes, strings.Replace(question, "the server of "+data, serverName(r.config.NATS), 1)); err != nil {
			return err
		}
		return withServer(c, r.env, r.intoServer)
	}
	if err := checkSwapped(data, r.config); err != nil {
		return err
	}
	empty, err := isEmptyDir(data)
	if err != nil {
		return err
	}
	if !empty {
		if err := confirm(c.Context(), r.env, yes, question); err != nil {
			return err
		}
	}
	dir, err := embedded.OpenDir(data)
	if errors.Is(err, embedded.ErrDirInUse) {
		return withServer(c, r.env, r.intoServer)
	}
	if err != nil {
		return err
	}
	return errors.Join(r.intoDir(c.Context(), dir), dir.Close())
}

// isEmptyDir reports whether a data directory has nothing but its lock and the staging folder of an interrupted restore.
func isEmptyDir(path string) (bool, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("data directory: %w", err)
	}
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "lock" && e.Name() != stagingFolder }), nil
}

// storeOptions returns the options of the buckets.
func storeOptions(c *Config) kv.Options {
	return kv.Options{Prefix: c.NATS.Prefix, Replicas: c.NATS.Replicas, TokenTTL: c.Tokens.TTL, MaxFriends: c.Limits.Friends, MaxRequests: c.Limits.Requests}
}

// stagedNATS is a NATS server of the restore command that has the checked streams of the backup.
type stagedNATS struct {
	dir    *embedded.Dir
	server *embedded.Server
	nc     *nats.Conn
}

// stage starts a NATS server on the directory path, which does not wait for the disk, and restores the streams there. It
// opens the buckets once, so that they have the format of this version, and reads every record.
func (r *restoring) stage(ctx context.Context, path string) (_ *stagedNATS, err error) {
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
	if err := eachStream(r.file, func(stream string, b *backedUp) error { return r.stream(ctx, s.nc, stream, b) }); err != nil {
		return nil, err
	}
	r.env.reach("streams staged")
	o := storeOptions(r.config)
	o.Replicas = 1
	if _, err := kv.Adopt(ctx, s.nc, o, logStream(o.Prefix)); err != nil {
		return nil, backupDamage(err)
	}
	store, err := kv.Open(ctx, s.nc, o)
	if err != nil {
		return nil, err
	}
	if err := natsauth.ReconcileConsumers(ctx, s.nc, store, o.Prefix); err != nil {
		return nil, err
	}
	r.progress.say("reading every record")
	contents, err := kv.Inspect(ctx, s.nc, o.Prefix)
	if err != nil {
		return nil, err
	}
	r.contents = contents
	return &s, nil
}

// backupDamage marks the error for a missing stream as damage of the backup.
func backupDamage(err error) error {
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
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreWait) // it may still have much to write
		defer cancel()
		failed = append(failed, s.server.Shutdown(stop))
	}
	if s.dir != nil {
		failed = append(failed, s.dir.Close())
	}
	return errors.Join(failed...)
}

// stream restores one stream in the restore command's NATS server.
func (r *restoring) stream(ctx context.Context, nc *nats.Conn, stream string, s *backedUp) error {
	if !slices.Contains(restorable(r.config.NATS.Prefix), stream) {
		return errBackup
	}
	own := r.config.NATS
	own.Replicas = 1
	var err error
	if s.Config, err = forReplicas(stream, own, s.Config); err != nil {
		return err
	}
	done := backupStream{Name: stream}
	err = putSnapshot(ctx, nc, stream, s.streamSnapshot, func() ([]byte, error) {
		piece, err := s.next()
		done.Bytes += int64(len(piece))
		r.progress.say("%s: %s", stream, Size(done.Bytes))
		return piece, err
	})
	if err != nil {
		return err
	}
	state, err := s.state()
	if err != nil {
		return err
	}
	done.Messages = state.Messages
	r.report.Streams = append(r.report.Streams, done)
	return nil
}

// restorable returns the names of the streams that a backup may have.
func restorable(prefix string) []string {
	all := []string{kv.StateStream(prefix), logStream(prefix)}
	for _, slot := range kv.Slots() {
		all = append(all, kv.Streams(prefix, slot)...)
	}
	return all
}

// forReplicas returns the configuration of a restored stream, with the number of copies of c. With one copy, tokens do
// not wait for the disk. NATS does not offer that for more copies.
func forReplicas(stream string, c NATSConfig, config json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, errBackup
	}
	fields["num_replicas"] = json.RawMessage(fmt.Sprint(c.Replicas))
	delete(fields, "persist_mode")
	if c.Replicas == 1 && strings.HasPrefix(stream, "KV_"+c.Prefix+"_tokens") {
		fields["persist_mode"] = json.RawMessage(`"async"`)
	}
	return json.Marshal(fields)
}
