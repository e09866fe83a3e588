// Package cmd is the command line of imctl: one file for each command, the configuration,
// and the wiring of the other packages into a server.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// Env holds the standard streams, environment and working directory of a command. Tests pass their own.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	// Environ is the environment, in the form of os.Environ.
	Environ []string
	// Dir is the working directory. "" means the working directory of the process.
	Dir string
	// SystemConfig is the configuration file of the machine, which applies if the command names none and the working
	// directory has none. "" means that there is none.
	SystemConfig string
	// Terminal prompts the user. It is nil if standard input is not a terminal.
	Terminal Terminal
	// Hangup delivers requests to reload the configuration. nil means the SIGHUP of the process.
	Hangup <-chan os.Signal
	// step is called after each step of a restore. Only tests set it.
	step func(name string)
}

// stepDone calls e.step, if it is set.
func (e *Env) stepDone(step string) {
	if e.step != nil {
		e.step(step)
	}
}

// Main runs the command line of the process and exits.
func Main() {
	ctx, stop := interruptible(context.Background())
	env := &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), SystemConfig: systemConfig(), Terminal: stdinTerminal()}
	code := Run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}

// Run runs one command line and returns its exit code. It writes an error message to env.Err if the command fails.
func Run(ctx context.Context, env *Env, args []string) int {
	root := newRoot(env, args...)
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	command, err := root.ExecuteContextC(ctx)
	if _, rest, findErr := root.Find(args); findErr != nil {
		err = unknownCommand(root, rest)
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
	}
	return report(env.Err, command, err)
}

// errInterrupted is the cause of a command's canceled context after SIGINT or SIGTERM.
var errInterrupted = errors.New("interrupted")

// interruption is errInterrupted with the signal.
type interruption struct{ signal os.Signal }

func (i interruption) Error() string { return errInterrupted.Error() }
func (i interruption) Unwrap() error { return errInterrupted }

// interruptible returns a context that SIGINT and SIGTERM cancel, and a function that releases its resources. A second
// signal ends the process at once, without a graceful shutdown.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(interruption{<-signals})
		<-signals
		os.Exit(exitFailed)
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// hangups returns a channel that receives SIGHUP, and a function that stops the delivery. Only a command that calls it
// survives the signal. Every other command ends when its terminal closes.
func (e *Env) hangups() (<-chan os.Signal, func()) {
	if e.Hangup != nil {
		return e.Hangup, func() {}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals, func() { signal.Stop(signals) }
}

// newRoot returns the tree of commands. args are the command line, if there is one.
func newRoot(env *Env, args ...string) *cobra.Command {
	root := &cobra.Command{
		Use:   "imctl",
		Short: "An instant-messaging server on NATS JetStream",
		Long: `imctl is an instant-messaging server on NATS JetStream, and the tool that administers it.

Every setting of config.yaml is also a command-line flag (--log.level debug) and an environment
variable (IMCTL_LOG_LEVEL=debug).

Output is a table, or JSON with -o json: one object, or for a list one object on each line (JSON Lines).
Times have a zone: RFC 3339, in UTC in JSON, and local with the offset in tables. On a narrow terminal a
table leaves out or shortens columns, and help is wrapped. A pipe gets everything.

Exit codes: 0 success, 1 failure, 2 usage or configuration error, 3 not found,
4 already exists, 5 server not reachable.`,
		Example: `  imctl serve
  imctl user create ada
  imctl help user create`,
		Version:           readBuildInfo().Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(
		newServe(env),
		newUser(env),
		newFriend(env),
		newReport(env),
		newTalk(env),
		newSession(env),
		newToken(env),
		newAttach(env),
		newWebhook(env),
		newInvite(env),
		newNATS(env),
		newCluster(env),
		newEvents(env),
		newAudit(env),
		newStatus(env),
		newBackup(env),
		newRestore(env),
		newCheck(env),
		newBench(env),
		newTop(env),
		newDoctor(env),
		newVersion(env),
		newCompletion(env),
		newDataServer(env),
		newHealth(env),
		newGenerate(env),
	)
	root.SetVersionTemplate("imctl {{.Version}}\n")
	root.SetHelpCommand(newHelp(env))
	root.SetFlagErrorFunc(flagError)
	fitHelp(root, terminalWidth(env.Out))
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		addCompletions(env, root) // cobra keeps them, and with them the commands, until the process ends
	}
	markRunErrors(root)
	refuseRepeats(root) // after markRunErrors: these are errors of the parser
	return root
}

// newGroup returns a command that only has subcommands.
func newGroup(name, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   name,
		Short: short,
		// Without Args and RunE, cobra prints help for a misspelled command and exits with 0.
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("missing command")
			}
			return unknownCommand(c, args)
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	group.AddCommand(commands...)
	return group
}

// unknownCommand returns the usage error of the first word of args that is no flag, with the nearest subcommand of c.
func unknownCommand(c *cobra.Command, args []string) error {
	word := args[max(0, slices.IndexFunc(args, func(arg string) bool { return !strings.HasPrefix(arg, "-") }))]
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	_, hint, _ := strings.Cut(unknown("command", word, names), ":")
	if hint != "" {
		hint = ":" + hint
	}
	return fmt.Errorf("unknown command %q%s", word, hint)
}

// exactArgs requires exactly the named arguments.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return errors.New("missing argument " + names[len(args)])
		}
		for i, name := range names {
			if args[i] == "" {
				return errors.New(name + " must not be empty")
			}
			// The requests to the server are JSON, which replaces invalid UTF-8.
			if !utf8.ValidString(args[i]) {
				return errors.New(name + " is not valid UTF-8")
			}
		}
		return checkArgCount(len(names), args)
	}
}

// argAndMore requires the named argument, and accepts any number of others.
func argAndMore(name, others string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		names := []string{name}
		for range max(0, len(args)-1) {
			names = append(names, others)
		}
		return exactArgs(names...)(c, args)
	}
}

// optionalArg accepts the named argument, or none.
func optionalArg(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return exactArgs(name)(c, args)
	}
}

// maxArgs accepts up to n arguments.
func maxArgs(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error { return checkArgCount(n, args) }
}

func checkArgCount(n int, args []string) error {
	if len(args) > n {
		return fmt.Errorf("unexpected argument %q", args[n])
	}
	return nil
}
