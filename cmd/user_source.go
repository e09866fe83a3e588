package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newUserSource(env *Env) *cobra.Command {
	var (
		request admin.SetSource
		output  outputFormat
	)
	c := &cobra.Command{
		Use:   "source USER SOURCE",
		Short: "Change what checks the sign-in of an account",
		Long: `Change what checks the sign-in of an account: nats, jwt or oidc, or builtin for a password of this
server. The command drops the password, ends the sessions and revokes the tokens. After a change to
builtin, set a password with imctl user passwd.

Without --subject, the next sign-in from the source sets the subject.`,
		Example: `  imctl user source alice jwt
  imctl user source bob oidc --issuer https://id.example.org --subject 248289761001`,
		Args: exactArgs("USER", "SOURCE"),
		RunE: func(c *cobra.Command, args []string) error {
			request.User, request.Source = args[0], args[1]
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				u, err := client.SetSource(ctx, request)
				if err != nil {
					return err
				}
				return writeUser(env, output, u, "signs in by "+userSource(u))
			})
		},
	}
	c.Flags().StringVar(&request.Issuer, "issuer", "", "issuer of the tokens that identify the user")
	c.Flags().StringVar(&request.Subject, "subject", "", "what the source calls the user")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
