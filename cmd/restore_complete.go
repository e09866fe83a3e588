package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/cluster"
	"imctl/bridge/natsutil"
	"imctl/embedded"
	"imctl/kv"
)

// completeFailure returns the failure for an interrupted restore. Its remedy is the command line that completes it.
func completeFailure(c *Config, err error) error {
	return &failure{code: exitFailed, err: err, remedy: "complete it with " + completeLine(c)}
}

// completeLine returns the command line that completes a restore.
func completeLine(c *Config) string {
	line := "imctl restore --complete"
	add := func(flag, value string) {
		if value == "" {
			return
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\"'$&|;<>()*?", r) }) {
			value = strconv.Quote(value)
		}
		line += " " + flag + " " + value
	}
	if c.NATS.Prefix != Defaults().NATS.Prefix {
		add("--nats.prefix", c.NATS.Prefix)
	}
	switch {
	case c.NATS.Embedded():
		add("--data", c.Data)
	case c.NATS.Context != "":
		add("--context", c.NATS.Context)
	default:
		add("--nats", RedactURL(c.NATS.URL))
		add("--creds", c.NATS.Creds)
		add("--nats.tls.ca", c.NATS.TLS.CA)
		add("--nats.tls.cert", c.NATS.TLS.Cert)
		add("--nats.tls.key", c.NATS.TLS.Key)
	}
	add("--nats.domain", c.NATS.Domain)
	return line
}

// completeReport is the report of restore --complete.
type completeReport struct {
	Completed bool   `json:"completed"`
	Restore   string `json:"restore,omitempty"` // start of the restore, and time of the backup
}

// runComplete completes an interrupted restore. It does not need the backup, since the backup is staged.
func runComplete(ctx context.Context, env *Env, c *Config, output outputFormat) error {
	done, err := complete(ctx, env, c)
	if err != nil {
		return err
	}
	if output.json() {
		return writeJSON(env.Out, done)
	}
	if !done.Completed {
		_, err = fmt.Fprintln(env.Out, "no interrupted restore found")
		return err
	}
	_, err = fmt.Fprintf(env.Out, "restore completed: %s\n", done.Restore)
	return err
}

func complete(ctx context.Context, env *Env, c *Config) (done completeReport, err error) {
	var nc *nats.Conn
	if c.NATS.Embedded() {
		if _, err := os.Stat(c.Data); errors.Is(err, fs.ErrNotExist) {
			return done, findDir(c.Data)
		}
		dir, closeDir, err := openOwnDir(c.Data)
		switch {
		case errors.Is(err, embedded.ErrDirInUse):
			if nc, err = dialLockedDir(c); err != nil {
				return done, &failure{code: exitNoServer, err: err}
			}
			defer nc.Close()
			return completeStreams(ctx, env, nc, c)
		case err != nil:
			return done, err
		}
		if node, err := c.isNode(); err != nil || node {
			return done, errors.Join(err, nodeFailure(c), closeDir())
		}
		done, err = completeDir(ctx, env, c, dir)
		return done, errors.Join(err, closeDir())
	}
	if nc, err = dialNATS(c.NATS, nats.Name("imctl restore"), nats.Timeout(connectTimeout), nats.NoReconnect()); err != nil {
		return done, dialFailure(c.NATS, err, exitNoServer)
	}
	defer nc.Close()
	return completeStreams(ctx, env, nc, c)
}

// dialLockedDir connects to the server that has locked a data directory. Its admin service may not answer.
func dialLockedDir(c *Config) (*nats.Conn, error) {
	options := []nats.Option{nats.Name("imctl restore"), nats.Timeout(connectTimeout), nats.NoReconnect()}
	if nc, err := connectSocket(c.Data, options...); err == nil {
		return nc, nil
	}
	return dialListener(c, options...)
}

// openOwnDir is embedded.OpenDir for a command that moves files in the directory itself. Until the caller calls closeDir,
// the process acts as the owner of the directory, so that the directory keeps its owner.
func openOwnDir(path string) (dir *embedded.Dir, closeDir func() error, err error) {
	back, err := embedded.AsOwner(path)
	if err != nil {
		return nil, nil, err
	}
	if dir, err = embedded.OpenDir(path); err != nil {
		return nil, nil, errors.Join(dirFailure(path, exitFailed, err), back())
	}
	return dir, func() error { return errors.Join(dir.Close(), back()) }, nil
}

// completeDir completes both kinds of restore in a data directory without a running server.
func completeDir(ctx context.Context, env *Env, c *Config, dir *embedded.Dir) (done completeReport, err error) {
	mark, err := readMarker(dir.Path())
	if err != nil {
		return done, err
	}
	if mark != nil {
		return completeReport{true, mark.String()}, completeSwap(env, dir)
	}
	if err := clearStaging(dir); err != nil {
		return done, err
	}
	if empty, err := isEmptyDir(dir.Path()); err != nil || empty {
		return done, err
	}
	log := newLogger(env.Err, LogConfig{Level: "error", Format: "text"}, new(slog.LevelVar))
	server, err := embedded.Start(ctx, embedded.Options{Dir: dir, Sync: time.Duration(c.NATS.Sync), SkipDataCheck: !c.DataCheck, Log: log})
	if err != nil {
		return done, err
	}
	nc, err := server.Connect("imctl restore")
	if err == nil {
		done, err = completeOwnStreams(ctx, env, dir, nc, c)
		nc.Close()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return done, errors.Join(err, server.Shutdown(stop))
}

// completeOwnStreams is completeStreams for a data directory that this command has locked. It first records in the
// directory which streams must exist now.
func completeOwnStreams(ctx context.Context, env *Env, dir *embedded.Dir, nc *nats.Conn, c *Config) (done completeReport, err error) {
	state, states, err := readState(ctx, nc, c.NATS.Prefix)
	if err == nil && states != nil {
		err = dir.RememberStreams(embedded.EmbeddedOwner(c.NATS.Prefix), state.Streams)
	}
	if err != nil {
		return done, err
	}
	return completeStreams(ctx, env, nc, c)
}

// completeStreams completes a restore of the streams of a running NATS server.
func completeStreams(ctx context.Context, env *Env, nc *nats.Conn, c *Config) (done completeReport, err error) {
	state, _, err := readState(ctx, nc, c.NATS.Prefix)
	if err != nil || state.Restore == nil {
		return done, err
	}
	progress := startProgress(env)
	defer progress.stop()
	return completeReport{true, state.Restore.String()}, completeInServer(ctx, env, nc, c, progress)
}

// readState returns the state and its store. If there is no state, it returns the zero State and nil.
func readState(ctx context.Context, nc *nats.Conn, prefix string) (state kv.State, states *kv.States, err error) {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return state, nil, err
	}
	find, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	states, err = kv.FindStates(find, js, prefix)
	if errors.Is(err, kv.ErrNoState) {
		return state, nil, nil
	}
	if err == nil {
		state, err = states.Get(find)
	}
	return state, states, err
}

// completeInServer runs the remaining steps of a marked restore. It can be interrupted at any point and repeated.
func completeInServer(ctx context.Context, env *Env, nc *nats.Conn, c *Config, progress *progressLine) error {
	prefix := c.NATS.Prefix
	state, states, err := readState(ctx, nc, prefix)
	if err != nil || state.Restore == nil {
		return err
	}
	mark := *state.Restore
	failed := func(err error) error {
		return completeFailure(c, fmt.Errorf("%w: %w", kv.ErrRestoreUnfinished, err))
	}
	nodes, err := states.NoteNodes(ctx, mark)
	if err != nil {
		return failed(err)
	}
	progress.update("ending all sessions")
	// A node that does not answer finds the restore when it next reads the state.
	notifyNodes := func() {
		if err := cluster.NotifyRestore(ctx, nc, prefix, nodes); err != nil {
			fmt.Fprintf(env.Err, "imctl: a server does not answer and will detect the restore by itself: %s\n", oneLine(err))
		}
	}
	notifyNodes()
	env.stepDone("nodes told")
	if err := states.RemoveReplaced(ctx, mark); err != nil {
		return failed(err)
	}
	env.stepDone("old streams removed")
	for _, part := range []struct {
		kept   keptStream
		staged string // "": it is restored, or this restore does not have it
		step   string
	}{{keptLog(prefix), mark.Log, "log"}, {keptTalks(prefix), mark.Talks, "conversations"}, {keptFiles(prefix), mark.Files, "files"}} {
		if part.staged == "" {
			continue
		}
		progress.update("restoring %s", part.kept.what)
		if err := swapKept(ctx, nc, part.kept); err != nil {
			return failed(err)
		}
		env.stepDone(part.step + " swapped")
		if err := states.StreamRestored(ctx, part.kept.name); err != nil {
			return failed(err)
		}
		env.stepDone(part.step + " noted")
	}
	for _, kept := range []keptStream{keptLog(prefix), keptTalks(prefix), keptFiles(prefix)} {
		if err := deleteStream(ctx, nc, kept.staged); err != nil {
			return failed(err)
		}
	}
	if _, err := states.FinishRestore(ctx); err != nil {
		return failed(err)
	}
	env.stepDone("finished")
	notifyNodes()
	return nil
}
