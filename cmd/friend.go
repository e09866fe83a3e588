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
		newFriendChange(env, "add", "are friends", "Make friends of two users, unasked and at once",
			"Exit code 4 tells that they are friends already.", (*admin.Client).AddFriend),
		newFriendChange(env, "remove", "are no friends any more", "End a friendship at both ends",
			"Requests between the two are withdrawn. Exit code 3 tells that they are no friends.", (*admin.Client).RemoveFriend),
	)
	group.Long = `Administer friendships.

USER and FRIEND are accounts, or id: and the id. What changes is in force at once, on every server.`
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
		Short: "List a user's friends, or the requests that are pending",
		Long: `Lists a user's friends, in the order in which they became that, with the alias that USER gave them.

With --requests it lists who asks USER (request) and whom USER has asked (asked).`,
		Example: `  imctl friend list alice
  imctl friend list alice --requests -o json`,
		Args: wants("USER"),
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
				return list.write(env.Out, client.Friends(ctx, admin.ListFriends{User: args[0], Requests: requests, Limit: list.page()}))
			})
		},
	}
	c.Flags().BoolVar(&requests, "requests", false, "the requests that are pending, instead of friends")
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// newFriendChange makes a command that does something to two users. done is what they are then.
func newFriendChange(env *Env, name, done, short, long string, do func(*admin.Client, context.Context, string, string) (admin.Friendship, error)) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     name + " USER FRIEND",
		Short:   short,
		Long:    short + ".\n\n" + long,
		Example: "  imctl friend " + name + " alice bob",
		Args:    wants("USER", "FRIEND"),
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
