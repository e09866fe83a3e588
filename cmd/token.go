package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newToken(env *Env) *cobra.Command {
	group := newGroup("token", "See and revoke what logins were given",
		newTokenList(env),
		newTokenRevoke(env),
	)
	group.Long = `See and revoke the tokens that logins were given.

A token itself is known to its owner alone. It is named by its hash, the SHA-256 in hex.`
	return group
}

func newTokenList(env *Env) *cobra.Command {
	list := &listing[admin.Token]{
		header: []string{"hash", "session", "issued", "expires"},
		row: func(t admin.Token) []string {
			return []string{t.Hash, orDash(t.Session), localTime(t.Issued), localTime(t.Expires)}
		},
	}
	c := &cobra.Command{
		Use:     "list USER",
		Short:   "List a user's tokens, the oldest first",
		Example: "  imctl token list alice",
		Args:    wants("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := list.check(); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.Tokens(ctx, admin.ListTokens{User: args[0], Limit: list.page()}))
			})
		},
	}
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newTokenRevoke(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "revoke USER [HASH...]",
		Short: "End tokens of a user, and the sessions that live by them",
		Long: `Ends the tokens whose hashes are named, or all of the user. As much of a hash will do as tells it
from the others. Sessions that live by them end, and the user's connections to NATS.`,
		Example: `  imctl token revoke alice
  imctl token revoke alice 9f86d081`,
		Args: wantsMore("USER", "HASH"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				revoked, err := client.RevokeTokens(ctx, args[0], args[1:]...)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, revoked.Tokens)
				}
				_, err = fmt.Fprintf(env.Out, "%s revoked\n", howMany(len(revoked.Tokens), "token"))
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
