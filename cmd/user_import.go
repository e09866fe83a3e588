package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"
)

// imported is what an import has done.
type imported struct {
	Created     int `json:"created"`
	There       int `json:"there"` // accounts that were there already
	Friendships int `json:"friendships"`
	Requests    int `json:"requests"`
	Missing     int `json:"missing"` // friendships and requests with somebody who is not there
	Wrong       int `json:"wrong"`   // lines
}

func newUserImport(env *Env) *cobra.Command {
	var output outputFormat
	keepGoing := false
	c := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Take what user export wrote into a server",
		Long: `Takes accounts as user export writes them, from FILE or from standard input, into a server that may be
running: with their ids, passwords, aliases and requests. Friendships are restored at both ends; those
with somebody who is neither in the file nor on the server are counted as missing.

What is there already stays as it is, so an import that was cut off can be run again.

A line that is wrong is named on standard error, and ends the import; with --keep-going the others are
imported all the same. What was imported before stays. In a line all but "account" may be left out;
a missing time becomes the time of the import.`,
		Example: `  imctl user import people.jsonl
  imctl user import --keep-going < people.jsonl`,
		Args: mayHave(1),
		RunE: func(c *cobra.Command, args []string) error {
			in, done, err := importInput(env, args)
			if err != nil {
				return err
			}
			defer done()
			return withServer(c, env, func(ctx context.Context, s *operated) error {
				i := importer{client: s.Client, in: in, keepGoing: keepGoing, progress: startProgress(env), errs: env.Err}
				err := i.run(ctx)
				i.progress.stop()
				if err == nil || i.Wrong > 0 {
					err = errors.Join(writeImported(env, output, i.imported), err)
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&keepGoing, "keep-going", false, "go on behind lines that are wrong")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func writeImported(env *Env, output outputFormat, n imported) error {
	if output.json() {
		return writeJSON(env.Out, n)
	}
	return writeFacts(env.Out, [][]string{
		{"created", strconv.Itoa(n.Created)}, {"there", strconv.Itoa(n.There)}, {"friendships", strconv.Itoa(n.Friendships)},
		{"requests", strconv.Itoa(n.Requests)}, {"missing", strconv.Itoa(n.Missing)}, {"wrong", strconv.Itoa(n.Wrong)},
	})
}

// importInput is read twice: friendships need both ends to be there. What can't be is kept in a file meanwhile.
func importInput(env *Env, args []string) (in io.ReadSeeker, done func(), err error) {
	source := env.In
	if len(args) > 0 && args[0] != "-" {
		f, err := os.Open(env.path(args[0]))
		if err != nil {
			return nil, nil, wrongUse("%w", err)
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, func() { _ = f.Close() }, nil
		}
		defer f.Close()
		source = f
	}
	spool, err := os.CreateTemp("", "imctl-import-*") // made 0600
	if err != nil {
		return nil, nil, fmt.Errorf("keep the input: %w", err)
	}
	done = func() { _ = spool.Close(); _ = os.Remove(spool.Name()) }
	if _, err := io.Copy(spool, source); err != nil {
		done()
		return nil, nil, fmt.Errorf("keep the input: %w", err)
	}
	return spool, done, nil
}
