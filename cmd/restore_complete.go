package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/cluster"
	"imctl/embedded"
	"imctl/kv"
)

// unfinished returns the failure of a command that finds an interrupted restore.
func unfinished(c *Config, err error) error {
	return &failure{code: exitFailed, err: err, todo: "complete it with " + completeLine(c)}
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
	}
	return line
}

// completion is the report of restore --complete.
type completion struct {
	Completed bool   `json:"completed"`
	Restore   string `json:"restore,omitempty"` // when it began, and of which backup
}

// runComplete completes an interrupted restore. It does not need the backup, since all of it is staged.
func runComplete(ctx context.Context, env *Env, c *Config, output outputFormat) error {
	done, err := complete(ctx, env, c)
	if err != nil {
		return err
	}
	if output.json() {
		return writeJSON(env.Out, done)
	}
	if !done.Completed {
		_, err = fmt.Fprintln(env.Out, "there is no restore to complete")
		return err
	}
	_, err = fmt.Fprintf(env.Out, "the restore is complete: %s\n", done.Restore)
	return err
}

func complete(ctx context.Context, env *Env, c *Config) (done completion, err error) {
	var nc *nats.Conn
	if c.NATS.Embedded() {
		dir, err := embedded.OpenDir(c.Data)
		switch {
		case errors.Is(err, embedded.ErrDirInUse):
			if nc, err = dialHeldDir(c); err != nil {
				return done, &failure{code: exitNoServer, err: err}
			}
			defer nc.Close()
			return completeStreams(ctx, env, nc, c)
		case err != nil:
			return done, err
		}
		done, err = completeDir(ctx, env, c, dir)
		return done, errors.Join(err, dir.Close())
	}
	if nc, err = dialNATS(c.NATS, nats.Name("imctl restore"), nats.Timeout(connectWait), nats.NoReconnect()); err != nil {
		return done, dialFailure(c.NATS, err, exitNoServer)
	}
	defer nc.Close()
	return completeStreams(ctx, env, nc, c)
}

// dialHeldDir connects to the server that has locked a data directory. Its administration may not answer.
func dialHeldDir(c *Config) (*nats.Conn, error) {
	credentials, err := embedded.ReadContext(c.Data)
	if err != nil {
		return nil, err
	}
	if credentials.URL == "" {
		return nil, errNoDoor
	}
	return nats.Connect(credentials.URL, nats.Name("imctl restore"), nats.Timeout(connectWait), nats.NoReconnect(),
		nats.UserInfo(credentials.User, credentials.Password))
}

// completeDir completes both kinds of restore in a data directory that no server uses.
func completeDir(ctx context.Context, env *Env, c *Config, dir *embedded.Dir) (done completion, err error) {
	mark, err := readMarker(dir.Path())
	if err != nil {
		return done, err
	}
	if mark != nil {
		done = completion{true, fmt.Sprintf("it began at %s, with the backup of %s", mark.Started.Format(time.RFC3339), mark.Backup.Format(time.RFC3339))}
		return done, completeSwap(env, dir)
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
		done, err = completeStreamsOf(ctx, env, dir, nc, c)
		nc.Close()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	return done, errors.Join(err, server.Shutdown(stop))
}

// completeStreamsOf is completeStreams for a data directory that this command has locked. The directory first remembers
// the streams that must exist now.
func completeStreamsOf(ctx context.Context, env *Env, dir *embedded.Dir, nc *nats.Conn, c *Config) (done completion, err error) {
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
func completeStreams(ctx context.Context, env *Env, nc *nats.Conn, c *Config) (done completion, err error) {
	state, _, err := readState(ctx, nc, c.NATS.Prefix)
	if err != nil || state.Restore == nil {
		return done, err
	}
	progress := startProgress(env)
	defer progress.stop()
	return completion{true, state.Restore.String()}, completeInServer(ctx, env, nc, c, progress)
}

// readState returns the state, or the zero State and nil if there is none.
func readState(ctx context.Context, nc *nats.Conn, prefix string) (state kv.State, states *kv.States, err error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return state, nil, err
	}
	find, cancel := context.WithTimeout(ctx, connectWait)
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

// completeInServer takes the remaining steps of a marked restore. It may be interrupted at any point and repeated.
func completeInServer(ctx context.Context, env *Env, nc *nats.Conn, c *Config, progress *progressLine) error {
	prefix := c.NATS.Prefix
	state, states, err := readState(ctx, nc, prefix)
	if err != nil || state.Restore == nil {
		return err
	}
	mark := *state.Restore
	failed := func(err error) error {
		return unfinished(c, fmt.Errorf("%w: %w", kv.ErrRestoreUnfinished, err))
	}
	nodes, err := states.NoteNodes(ctx, mark)
	if err != nil {
		return failed(err)
	}
	progress.say("ending all sessions")
	warn := func(err error) {
		if err != nil {
			fmt.Fprintf(env.Err, "imctl: a server does not answer; it checks the state by itself: %s\n", oneLine(err))
		}
	}
	warn(cluster.NotifyRestore(ctx, nc, prefix, nodes))
	env.reach("nodes told")
	if err := states.RemoveReplaced(ctx, mark); err != nil {
		return failed(err)
	}
	env.reach("old streams removed")
	if mark.Log != "" {
		progress.say("restoring the log")
		if err := swapLog(ctx, nc, prefix, mark.Log); err != nil {
			return failed(err)
		}
		env.reach("log swapped")
		if err := states.LogRestored(ctx, logStream(prefix)); err != nil {
			return failed(err)
		}
		env.reach("log noted")
	}
	if err := deleteStream(ctx, nc, stagedLog(prefix)); err != nil {
		return failed(err)
	}
	if _, err := states.FinishRestore(ctx); err != nil {
		return failed(err)
	}
	env.reach("finished")
	warn(cluster.NotifyRestore(ctx, nc, prefix, nodes))
	return nil
}
