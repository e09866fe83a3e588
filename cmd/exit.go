package cmd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

// Exit codes. Scripts rely on them.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUse      = 2 // wrong use or wrong configuration
	exitNotFound = 3
	exitExists   = 4
	exitNoServer = 5
)

// failure is an error that knows its exit code and what can be done about it.
type failure struct {
	code int
	err  error
	todo string // "" where nothing helps
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// wrongUse is the failure of a command that was not used as it wants to be.
func wrongUse(format string, args ...any) error {
	return &failure{code: exitUse, err: fmt.Errorf(format, args...)}
}

// ranError marks errors of a command that did run, which tells them from those of the command line's parser.
type ranError struct{ error }

func (e ranError) Unwrap() error { return e.error }

// markFailures has every command below root mark the errors of its run.
func markFailures(root *cobra.Command) {
	for _, c := range root.Commands() {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				if err := run(c, args); err != nil {
					return ranError{err}
				}
				return nil
			}
		}
		markFailures(c)
	}
}

// answerCodes are the exit codes of what a server answers.
var answerCodes = map[admin.Code]int{
	admin.NotFound:      exitNotFound,
	admin.AlreadyExists: exitExists,
	admin.Invalid:       exitUse,
	admin.Failed:        exitFailed,
	admin.Restoring:     exitFailed,
	admin.Unavailable:   exitNoServer,
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var (
		known    *failure
		mistakes Mistakes
		answer   *admin.Error
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &known):
		return known.code
	case errors.As(err, &mistakes):
		return exitUse
	case errors.As(err, &answer):
		return answerCodes[answer.Code]
	case errors.Is(err, admin.ErrNoService):
		return exitNoServer
	case errors.As(err, &ranError{}) || errors.Is(err, errInterrupted):
		return exitFailed
	}
	return exitUse // the parser's
}

// report tells w what went wrong, and what to do about it, and returns the exit code.
func report(w io.Writer, c *cobra.Command, err error) int {
	code := exitCode(err)
	var (
		known    *failure
		mistakes Mistakes
	)
	switch {
	case err == nil:
	case errors.As(err, &mistakes):
		fmt.Fprintln(w, mistakes)
	case errors.As(err, &known) && known.todo != "":
		fmt.Fprintf(w, "imctl: %s; %s\n", oneLine(err), known.todo)
	case code == exitUse:
		fmt.Fprintf(w, "imctl: %s; see %s --help\n", oneLine(err), c.CommandPath())
	default:
		fmt.Fprintf(w, "imctl: %s\n", oneLine(err))
	}
	return code
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
