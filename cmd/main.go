// Package cmd is the command line of imctl: one file a command, the configuration,
// and the wiring of the other packages into a server.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// Env is what a command has from the world around it, so that tests can hand in another.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	// Environ is the environment, in the form of os.Environ.
	Environ []string
	// Dir is the working directory, "" for the process's own.
	Dir string
	// Terminal asks the user at the terminal; nil if there is no terminal.
	Terminal Terminal
	// Hangup delivers requests to reload the configuration; nil for the process's SIGHUP.
	Hangup <-chan os.Signal
	// step, set by tests, is called after each step of a restore.
	step func(name string)
}

// reach calls step, if set.
func (e *Env) reach(step string) {
	if e.step != nil {
		e.step(step)
	}
}

// Main runs the process's command line and exits.
func Main() {
	ctx, stop := interruptible(context.Background())
	env := &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Terminal: stdinTerminal()}
	code := Run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}

// Run runs one command line and returns its exit code. It has told env.Err of its failure.
func Run(ctx context.Context, env *Env, args []string) int {
	root := newRoot(env)
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
	}
	return report(env.Err, command, err)
}

// errInterrupted is why the context of a command ends when the process is told to stop.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that SIGINT and SIGTERM end. A second one ends
// the process at once: whoever sends it does not want to wait for an orderly end.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel(errInterrupted)
		<-signals
		os.Exit(exitFailed)
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// hangups returns where SIGHUP arrives, and a function to stop that. Only who calls it
// survives the signal: every other command should end with its terminal.
func (e *Env) hangups() (<-chan os.Signal, func()) {
	if e.Hangup != nil {
		return e.Hangup, func() {}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals, func() { signal.Stop(signals) }
}

func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "imctl",
		Short: "An instant-messaging server on NATS JetStream",
		Long: `imctl is an instant-messaging server on NATS JetStream, and the tool that administers it.

Every setting of config.yaml is a flag of serve and the other commands too (--log.level debug),
and a variable of the environment (IMCTL_LOG_LEVEL=debug).

Exit codes: 0 done, 1 failed, 2 wrong use or wrong configuration, 3 not found,
4 already there, 5 no server reached.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(
		newServe(env),
		newUser(env),
		newFriend(env),
		newSession(env),
		newToken(env),
		newAttach(env),
		newNATS(env),
		newEvents(env),
		newStatus(env),
		newBackup(env),
		newRestore(env),
		newCheck(env),
		newBench(env),
		newVersion(env),
		newCompletion(env),
	)
	markFailures(root)
	completeBelow(root)
	return root
}

// newGroup makes a command that only holds others.
func newGroup(name, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   name,
		Short: short,
		// Without these two cobra would print help and call a misspelt command a success.
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("a command is missing")
			}
			return fmt.Errorf("unknown command %q", args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	group.AddCommand(commands...)
	return group
}

// wants takes exactly the named arguments.
func wants(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return errors.New(names[len(args)] + " is missing")
		}
		for i, name := range names {
			if args[i] == "" {
				return errors.New(name + " must not be empty")
			}
			// The messages to the server are JSON, where it would become something else.
			if !utf8.ValidString(args[i]) {
				return errors.New(name + " is not UTF-8")
			}
		}
		return atMost(len(names), args)
	}
}

// wantsMore takes the named argument, and any number of others.
func wantsMore(name, others string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		names := []string{name}
		for range max(0, len(args)-1) {
			names = append(names, others)
		}
		return wants(names...)(c, args)
	}
}

// optional takes the named argument, or none.
func optional(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return wants(name)(c, args)
	}
}

// mayHave takes up to n arguments.
func mayHave(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error { return atMost(n, args) }
}

func atMost(n int, args []string) error {
	if len(args) > n {
		return fmt.Errorf("unexpected argument %q", args[n])
	}
	return nil
}
