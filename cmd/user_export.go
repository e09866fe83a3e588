package cmd

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"imctl/embedded/privatefile"
)

func newUserExport(env *Env) *cobra.Command {
	var file string
	force := false
	c := &cobra.Command{
		Use:   "export [USER]",
		Short: "Export the data of one user or of all users as JSON lines",
		Long: `Export all data of USER, or of all users: the account with the hash of its password, profile, mail
address, friends with their aliases, pending requests, and conversations as the user sees them. Each user
is one line of JSON, in the format of user import. Lines with the key "talk" follow: each is a part of a
conversation, with its dialogues and how far the two users have read.

Other users appear by id. Tokens and sessions are not exported. Changes during the export may or may not
be included.

The output contains password hashes. A file written by --file is readable by its owner only.`,
		Example: `  imctl user export --file people.jsonl
  imctl user export alice | jq .`,
		Args: optionalArg("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			var user string
			if len(args) > 0 {
				user = args[0]
			}
			out := env.Out
			var private *privatefile.File
			if file != "" {
				var err error
				if private, err = createPrivate(env.path(file), force); err != nil {
					return err
				}
				defer private.Discard()
				out = private
			}
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				n, err := exportUsers(ctx, env, s, user, out)
				if err != nil || private == nil {
					return err
				}
				if err := private.Commit(); err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.Out, "%s exported to %s\n", plural(n, "account"), file)
				return err
			})
		},
	}
	c.Flags().StringVar(&file, "file", "", "write to this `file` instead of standard output")
	c.Flags().BoolVar(&force, "force", false, "replace an existing file")
	addServerFlags(c)
	return c
}

// exportUsers writes one user, or all users if user is empty, to out, and their conversations. It returns how many users
// it has written.
func exportUsers(ctx context.Context, env *Env, s *adminConn, user string, out io.Writer) (n int, err error) {
	p := startProgress(env)
	defer p.stop()
	// An account that changes during the export is listed again. The last line is the current one.
	for page, err := range s.Export(ctx, user) {
		if err != nil {
			return n, err
		}
		for _, record := range page {
			if err := writeJSON(out, record); err != nil {
				return n, err
			}
		}
		if err := exportTalks(ctx, s, page, out); err != nil {
			return n, err
		}
		n += len(page)
		p.update("%d accounts", n)
	}
	return n, nil
}
