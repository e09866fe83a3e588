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
		Short: "Write all that is held about a person, or about everybody, as JSON lines",
		Long: `Writes all that is held about a person, or about everybody without USER: the account with the hash of
its password, the profile, mail, friends with the aliases that were given, and requests that are
pending. Each person is an object on a line of its own, which user import takes.

Others are named by their ids. Tokens and sessions are not exported: they end by themselves. What
changes meanwhile may be in the export as it was or as it is then.

The output holds hashes of passwords. A file that --file names is made so that nobody else may read it.`,
		Example: `  imctl user export --file people.jsonl
  imctl user export alice | jq .`,
		Args: optional("USER"),
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
			return withServer(c, env, func(ctx context.Context, s *operated) error {
				n, err := exportUsers(ctx, env, s, user, out)
				if err != nil || private == nil {
					return err
				}
				if err := private.Commit(); err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.Out, "%s in %s\n", howMany(n, "account"), file)
				return err
			})
		},
	}
	c.Flags().StringVar(&file, "file", "", "write into this `file` instead of standard output")
	c.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	addServerFlags(c)
	return c
}

func exportUsers(ctx context.Context, env *Env, s *operated, user string, out io.Writer) (n int, err error) {
	p := startProgress(env)
	defer p.stop()
	// An account that changes meanwhile comes once more; what comes last is how it is.
	for page, err := range s.Export(ctx, user) {
		if err != nil {
			return n, err
		}
		for _, record := range page {
			if err := writeJSON(out, record); err != nil {
				return n, err
			}
		}
		n += len(page)
		p.say("%d accounts", n)
	}
	return n, nil
}
