package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
)

// importReport counts the results of an import.
type importReport struct {
	Created     int `json:"created"`
	There       int `json:"there"` // accounts that already existed
	Friendships int `json:"friendships"`
	Requests    int `json:"requests"`
	Dialogues   int `json:"dialogues"`
	Missing     int `json:"missing"` // friendships, requests and parts of conversations with a user who does not exist
	Wrong       int `json:"wrong"`   // invalid lines
}

func newUserImport(env *Env) *cobra.Command {
	var output outputFormat
	keepGoing := false
	c := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Import users from the output of user export",
		Long: `Import users from FILE or standard input, in the format of user export, with their ids, passwords,
aliases and requests. The server may be running.

Both ends of a friendship are restored. Friendships and requests with a user who is neither in the input
nor on the server are counted as missing. Existing accounts and friendships are not changed, so an
interrupted import can be repeated.

Conversations keep the numbers of their dialogues. A conversation that has dialogues on the server does
not change. If the input has a conversation as both of its users see it, the one without hidden dialogues is
imported. The dialogues are kept for dialogues.keep from now on.

Accounts, names and aliases follow the rules of registration: an account that looks like another one,
or has invisible characters, is an invalid line. A password hash is argon2id in the PHC format, with at
most 4 lanes, 64 MiB of memory, and 4 passes over 64 MiB. passwords.memory and passwords.passes raise
these limits.

An invalid line is reported on standard error and ends the import. With --keep-going, the other lines are
imported. Lines that were already imported stay imported. All fields except "account" are optional. The
default for a time is the time of the import.`,
		Example: `  imctl user import people.jsonl
  imctl user import --keep-going < people.jsonl`,
		Args: maxArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := openImport(env, args)
			if err != nil {
				return err
			}
			defer in.Close()
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				i := importer{client: s.Client, in: in, keepGoing: keepGoing, progress: startProgress(env), errs: env.Err}
				err := i.run(ctx)
				i.progress.stop()
				if err == nil || i.Wrong > 0 {
					err = errors.Join(writeImportReport(env, output, i.importReport), err)
				}
				return err
			})
		},
	}
	mayCreate(c)
	c.Flags().BoolVar(&keepGoing, "keep-going", false, "continue after an invalid line")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func writeImportReport(env *Env, output outputFormat, r importReport) error {
	if output.json() {
		return writeJSON(env.Out, r)
	}
	return writeFields(env.Out, [][]string{
		{"created", strconv.Itoa(r.Created)}, {"there", strconv.Itoa(r.There)}, {"friendships", strconv.Itoa(r.Friendships)},
		{"requests", strconv.Itoa(r.Requests)}, {"dialogues", strconv.Itoa(r.Dialogues)}, {"missing", strconv.Itoa(r.Missing)}, {"wrong", strconv.Itoa(r.Wrong)},
	})
}

// openImport opens the input of an import. The importer reads it several times, so openImport copies standard input, and a file
// that is not regular, such as a pipe, to a temporary file.
func openImport(env *Env, args []string) (io.ReadSeekCloser, error) {
	source := env.In
	if len(args) > 0 && args[0] != pipeName {
		f, err := openArgument(env.path(args[0]))
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, nil
		}
		defer f.Close()
		source = f
	}
	f, err := spool("imctl-import-*", source)
	if err != nil {
		return nil, fmt.Errorf("copy the input to a temporary file: %w", err)
	}
	return f, nil
}
