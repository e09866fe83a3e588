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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/embedded"
	"imctl/kv"
)

func newRestore(env *Env) *cobra.Command {
	var output outputFormat
	yes := false
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Take back what backup wrote",
		Long: `Takes back what backup wrote: users, tokens, friendships, the log with its consumers, and in a data
directory the administrator's credentials, certificates and keys.

A data directory that is empty, or not there, needs no more than that. One with something in it loses
what it has: that is asked for, or --yes says it. The same goes for a server that runs, also one in a
cluster or one attached to another NATS: there all sessions end, and only the streams are restored.

What was backed up of a single server can be restored in a cluster, and the other way round: the
streams get as many copies as nats.replicas says.

Before anything is changed the file's checksum is verified.`,
		Example: `  imctl restore imctl-2026-01-02.tar --data new
  imctl restore imctl-2026-01-02.tar --context cluster --yes`,
		Args: wants("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			file, err := os.Open(env.path(args[0]))
			if err != nil {
				return wrongUse("%w", err)
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
			return writeBackupReport(env, output, r.report)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
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
}

// run finds out where to: a directory that nobody uses, or a server.
func (r *restoring) run(c *cobra.Command, yes bool) error {
	data := r.config.Data
	question := fmt.Sprintf("Replace all that the server of %s has by the backup of %s?", data, r.manifest.Created.Local().Format(time.DateTime))
	if !r.config.NATS.Embedded() {
		if err := confirm(c.Context(), r.env, yes, strings.Replace(question, "the server of "+data, serverName(r.config.NATS), 1)); err != nil {
			return err
		}
		return withServer(c, r.env, r.intoServer)
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

// isEmptyDir tells whether there is nothing in a data directory but its lock.
func isEmptyDir(path string) (bool, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("data directory: %w", err)
	}
	return !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "lock" }), nil
}

const storeFolder = "jetstream"

// intoDir restores into a data directory that is ours. What was in it is put aside, and comes back should this fail.
func (r *restoring) intoDir(ctx context.Context, dir *embedded.Dir) (err error) {
	store, aside := dir.Path(storeFolder), dir.Path(storeFolder+"-before-restore")
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	err = os.Rename(store, aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	had := err == nil
	defer func() {
		if err == nil {
			err = os.RemoveAll(aside)
			return
		}
		undo := os.RemoveAll(store)
		if had {
			undo = errors.Join(undo, os.Rename(aside, store))
		}
		err = errors.Join(err, undo)
	}()
	if err := r.files(dir); err != nil {
		return err
	}
	log := newLogger(r.env.Err, LogConfig{Level: "error", Format: "text"}, new(slog.LevelVar))
	server, err := embedded.Start(ctx, embedded.Options{Dir: dir, Sync: time.Minute, Log: log})
	if err != nil {
		return err
	}
	nc, err := server.Connect("imctl restore")
	if err == nil {
		err = r.streams(ctx, nc)
		nc.Close()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if err = errors.Join(err, server.Shutdown(stop)); err != nil {
		return err
	}
	return syncTree(store)
}

// files puts back what the data directory had besides streams.
func (r *restoring) files(dir *embedded.Dir) error {
	b, err := newBackupReader(r.file)
	if err != nil {
		return err
	}
	for {
		name, data, err := b.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		file, ok := strings.CutPrefix(name, filesFolder)
		if !ok {
			continue
		}
		if !filepath.IsLocal(filepath.FromSlash(file)) {
			return errBackup
		}
		path := dir.Path(filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		out, err := createPrivate(path, true)
		if err != nil {
			return err
		}
		if _, err = out.Write(data); err == nil {
			err = out.commit()
		}
		if out.discard(); err != nil {
			return err
		}
		r.report.Files++
	}
}

// syncTree forces files to the disk, which the NATS server does not while it restores.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// intoServer restores the streams of a server that runs. Its nodes are put back on the list that came with the streams,
// and their sessions end: what they know is of another time.
func (r *restoring) intoServer(ctx context.Context, s *operated) error {
	before, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if err := r.streams(ctx, s.nc); err != nil {
		return err
	}
	c := s.config
	store, err := kv.Open(ctx, s.nc, kv.Options{Prefix: c.NATS.Prefix, Replicas: c.NATS.Replicas, TokenTTL: c.Tokens.TTL})
	if err != nil {
		return err
	}
	for _, n := range before.Nodes {
		if err := store.Nodes.Register(ctx, n.Node); err != nil {
			return err
		}
	}
	return endAllSessions(ctx, s.Client)
}

func endAllSessions(ctx context.Context, client *admin.Client) error {
	ended := make(map[string]bool)
	for page, err := range client.Sessions(ctx, admin.ListSessions{}) {
		if err != nil {
			return err
		}
		for _, session := range page {
			if ended[session.User] {
				continue
			}
			ended[session.User] = true
			if _, err := client.CloseSessions(ctx, "id:"+session.User); err != nil {
				return err
			}
		}
	}
	return nil
}

// streams replaces the streams that are there.
func (r *restoring) streams(ctx context.Context, nc *nats.Conn) error {
	// Pieces are read once only, so a stream that somebody makes anew meanwhile costs another round.
	for try := 1; ; try++ {
		r.report.Streams = nil
		err := eachStream(r.file, func(stream string, s *backedUp) error { return r.stream(ctx, nc, stream, s) })
		var refused *jetstream.APIError
		if err == nil || try == restoreTries || !errors.As(err, &refused) || refused.ErrorCode != streamExists {
			return err
		}
	}
}

// streamExists is JetStream's number for a restore of a stream that is there; the client has no name for it.
const streamExists jetstream.ErrorCode = 10130

func (r *restoring) stream(ctx context.Context, nc *nats.Conn, stream string, s *backedUp) error {
	if !slices.Contains(allStreams(r.config.NATS.Prefix), stream) {
		return errBackup
	}
	var err error
	if s.Config, err = forReplicas(stream, r.config.NATS, s.Config); err != nil {
		return err
	}
	if err := deleteStream(ctx, nc, stream); err != nil {
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

// forReplicas is the configuration of a stream as it is where it is restored: with as many copies as there have to be.
// Tokens do not wait for the disk where there is one, which NATS does not offer for more.
func forReplicas(stream string, c NATSConfig, config json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, errBackup
	}
	fields["num_replicas"] = json.RawMessage(fmt.Sprint(c.Replicas))
	delete(fields, "persist_mode")
	if c.Replicas == 1 && stream == "KV_"+c.Prefix+"_tokens" {
		fields["persist_mode"] = json.RawMessage(`"async"`)
	}
	return json.Marshal(fields)
}
