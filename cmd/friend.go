package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newFriend(env *Env) *cobra.Command {
	group := newGroup("friend", "Administer friendships",
		newFriendList(env),
		newFriendChange(env, "add", "are friends", "Make two users friends, without a friend request",
			"Exit with 4 if they are already friends.", (*admin.Client).AddFriend),
		newFriendChange(env, "remove", "are no longer friends", "End a friendship at both ends",
			"Requests between the two users are withdrawn. Exit with 3 if they are not friends.", (*admin.Client).RemoveFriend),
	)
	group.Long = `Administer friendships.

USER and FRIEND are accounts, or id:ID. Changes take effect at once, on every server.`
	return group
}

func newFriendList(env *Env) *cobra.Command {
	requests := false
	list := &listing[admin.Friend]{header: []string{"account", "name", "alias", "since", "id"}}
	list.row = func(f admin.Friend) []string {
		return []string{orDash(f.Account), f.Name, orDash(f.Alias), localTime(f.Since), f.ID}
	}
	c := &cobra.Command{
		Use:   "list USER",
		Short: "List the friends or the pending requests of a user",
		Long: `List the friends of USER, oldest friendship first, with the aliases that USER gave them.

With --requests, list the pending requests to USER (kind "request") and from USER (kind "asked").`,
		Example: `  imctl friend list alice
  imctl friend list alice --requests -o json`,
		Args: exactArgs("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := list.check(); err != nil {
				return err
			}
			if requests {
				list.header = []string{"account", "name", "kind", "note", "since", "id"}
				list.row = func(f admin.Friend) []string {
					return []string{orDash(f.Account), f.Name, f.Kind, orDash(f.Note), localTime(f.Since), f.ID}
				}
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.Friends(ctx, admin.ListFriends{User: args[0], Requests: requests, Limit: list.pageSize()}))
			})
		},
	}
	c.Flags().BoolVar(&requests, "requests", false, "list pending requests instead of friends")
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// newFriendChange returns a command that changes the friendship of two users. do makes the change, and done describes
// the two users in the output, such as "are friends".
func newFriendChange(env *Env, name, done, short, long string, do func(*admin.Client, context.Context, string, string) (admin.Friendship, error)) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     name + " USER FRIEND",
		Short:   short,
		Long:    short + ".\n\n" + long,
		Example: "  imctl friend " + name + " alice bob",
		Args:    exactArgs("USER", "FRIEND"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				f, err := do(client, ctx, args[0], args[1])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, f)
				}
				_, err = fmt.Fprintf(env.Out, "%s and %s %s\n", printable(f.User.Account), printable(f.Friend.Account), done)
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
