package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newSession(env *Env) *cobra.Command {
	group := newGroup("session", "See who is connected, and close connections",
		newSessionList(env),
		newSessionClose(env),
	)
	group.Long = `See who is connected, and close connections.

Sessions are those of browsers and apps. What connects to NATS itself is not listed.`
	return group
}

func newSessionList(env *Env) *cobra.Command {
	var request admin.ListSessions
	list := &listing[admin.Session]{
		header: []string{"account", "session", "node", "since", "address", "user"},
		row: func(s admin.Session) []string {
			return []string{orDash(s.Account), s.ID, s.Node, localTime(s.Since), s.Address, s.User}
		},
	}
	c := &cobra.Command{
		Use:   "list",
		Short: "List the sessions on all nodes, the oldest first",
		Example: `  imctl session list --user alice
  imctl session list --node 1f0e2d3c4b5a6978 -o json`,
		Args: mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := list.check(); err != nil {
				return err
			}
			request.Limit = list.page()
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.Sessions(ctx, request))
			})
		},
	}
	c.Flags().StringVar(&request.User, "user", "", "only those of this `user`")
	c.Flags().StringVar(&request.Node, "node", "", "only those on the node with this `id`, as status shows it")
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newSessionClose(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "close USER [SESSION...]",
		Short: "End sessions of a user, who may log in again",
		Long: `Ends the sessions of a user, on whatever node they are: those that are named, or all.
With all of them the user's connections to NATS are closed too.

The user may log in again, and its programs do. To keep it out, disable the account.`,
		Example: `  imctl session close alice
  imctl session close alice 0123456789abcdef`,
		Args: wantsMore("USER", "SESSION"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				closed, err := client.CloseSessions(ctx, args[0], args[1:]...)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, closed.Sessions)
				}
				_, err = fmt.Fprintf(env.Out, "%s closed\n", howMany(len(closed.Sessions), "session"))
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// howMany says how many there are of something.
func howMany(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
