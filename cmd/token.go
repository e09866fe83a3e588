package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newToken(env *Env) *cobra.Command {
	group := newGroup("token", "List and revoke tokens",
		newTokenList(env),
		newTokenRevoke(env),
	)
	group.Long = `List and revoke tokens, which clients get at login to log in again.

The server stores no tokens, only their SHA-256 hashes. The commands show and accept these hashes in hex.`
	return group
}

func newTokenList(env *Env) *cobra.Command {
	list := &listing[admin.Token]{
		header: []string{"hash", "session", "issued", "expires", "address", "agent"},
		row: func(t admin.Token) []string {
			return []string{t.Hash, orDash(t.Session), localTime(t.Issued), localTime(t.Expires), orDash(t.Address), orDash(t.Agent)}
		},
	}
	c := &cobra.Command{
		Use:   "list USER",
		Short: "List the tokens of a user, oldest first",
		Long: `List the tokens of a user, oldest first, with the address and the program of the login. Only hashes of
tokens are stored and shown. imctl token revoke takes a prefix of a hash.`,
		Example: "  imctl token list alice",
		Args:    exactArgs("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := list.check(); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.Tokens(ctx, admin.ListTokens{User: args[0], Limit: list.pageSize()}))
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
		Short: "Revoke tokens of a user and end their sessions",
		Long: `Revoke the tokens with the given hashes, or all tokens of the user. A unique prefix of a hash is enough.
The sessions of the revoked tokens end, and the user's connections to NATS are closed.`,
		Example: `  imctl token revoke alice
  imctl token revoke alice 9f86d081`,
		Args: argAndMore("USER", "HASH"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				revoked, err := client.RevokeTokens(ctx, args[0], args[1:]...)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, revoked.Tokens)
				}
				_, err = fmt.Fprintf(env.Out, "%s revoked\n", plural(len(revoked.Tokens), "token"))
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
