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
	exitUse      = 2 // usage or configuration error
	exitNotFound = 3
	exitExists   = 4
	exitNoServer = 5
)

// failure is an error with an exit code and a remedy.
type failure struct {
	code   int
	err    error
	remedy string // "" if there is none
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usageErrorf returns a failure with the exit code of a usage error.
func usageErrorf(format string, args ...any) error {
	return &failure{code: exitUse, err: fmt.Errorf(format, args...)}
}

// runError marks an error of a command's RunE. All other errors come from the command-line parser.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// markRunErrors wraps the RunE of every command below root, so that it returns a runError.
func markRunErrors(root *cobra.Command) {
	for _, c := range root.Commands() {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				if err := run(c, args); err != nil {
					return runError{err}
				}
				return nil
			}
		}
		markRunErrors(c)
	}
}

// adminExitCodes maps the error codes of the admin service to exit codes.
var adminExitCodes = map[admin.Code]int{
	admin.NotFound:      exitNotFound,
	admin.AlreadyExists: exitExists,
	admin.Invalid:       exitUse,
	admin.Failed:        exitFailed,
	admin.Restoring:     exitFailed,
	admin.Unavailable:   exitNoServer,
}

// exitCode returns the exit code for an error. No other function maps errors to exit codes.
func exitCode(err error) int {
	var (
		failed     *failure
		mistakes   Mistakes
		adminError *admin.Error
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &failed):
		return failed.code
	case errors.As(err, &mistakes):
		return exitUse
	case errors.As(err, &adminError):
		return adminExitCodes[adminError.Code]
	case errors.Is(err, admin.ErrNoService):
		return exitNoServer
	case errors.As(err, &runError{}) || errors.Is(err, errInterrupted):
		return exitFailed
	}
	return exitUse // the error of the parser
}

// report writes the error and its remedy to w, and returns the exit code.
func report(w io.Writer, c *cobra.Command, err error) int {
	code := exitCode(err)
	var (
		failed   *failure
		mistakes Mistakes
	)
	switch {
	case err == nil:
	case errors.As(err, &mistakes):
		fmt.Fprintln(w, mistakes)
	case errors.As(err, &failed) && failed.remedy != "":
		fmt.Fprintf(w, "imctl: %s; %s\n", oneLine(err), failed.remedy)
	case code == exitUse:
		fmt.Fprintf(w, "imctl: %s; see %s --help\n", oneLine(err), c.CommandPath())
	default:
		fmt.Fprintf(w, "imctl: %s\n", oneLine(err))
	}
	return code
}

func oneLine(err error) string { return printable(strings.Join(strings.Fields(err.Error()), " ")) }
