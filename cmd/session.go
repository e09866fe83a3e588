package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newSession(env *Env) *cobra.Command {
	group := newGroup("session", "List and close sessions",
		newSessionList(env),
		newSessionClose(env),
	)
	group.Long = `List and close sessions.

A session is the WebSocket connection of a browser or an app. NATS clients are not listed.`
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
		Short: "List the sessions on all nodes, oldest first",
		Long: `List the sessions on all nodes, oldest first, with the node and the address of the client. A user who is
connected with several devices has several sessions.`,
		Example: `  imctl session list --user alice
  imctl session list --node 1f0e2d3c4b5a6978 -o json`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := list.check(); err != nil {
				return err
			}
			request.Limit = list.pageSize()
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.Sessions(ctx, request))
			})
		},
	}
	c.Flags().StringVar(&request.User, "user", "", "list only sessions of this `user`")
	c.Flags().StringVar(&request.Node, "node", "", "list only sessions on the node with this `id` (see imctl status)")
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newSessionClose(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "close USER [SESSION...]",
		Short: "Close sessions of a user",
		Long: `Close the given sessions of a user, or all of them, on every node. Without SESSION, also close the NATS
connections of the user.

The user can log in again, and client programs do so automatically. To prevent it, use imctl user disable.`,
		Example: `  imctl session close alice
  imctl session close alice 0123456789abcdef`,
		Args: argAndMore("USER", "SESSION"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				closed, err := client.CloseSessions(ctx, args[0], args[1:]...)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, closed.Sessions)
				}
				_, err = fmt.Fprintf(env.Out, "%s closed\n", plural(len(closed.Sessions), "session"))
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// plural returns the number and the noun, in the plural unless n is 1.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
