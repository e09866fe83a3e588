package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newUserList(env *Env) *cobra.Command {
	var begins string
	var disabled, enabled bool
	list := &listing[admin.User]{
		header: []string{"account", "name", "mail", "created", "state", "id"},
		row: func(u admin.User) []string {
			return []string{u.Account, u.Name, orDash(u.Mail), localTime(u.Created), userState(u), u.ID}
		},
	}
	c := &cobra.Command{
		Use:   "list",
		Short: "List accounts",
		Long: `Lists accounts in the order in which they were last changed, as they come: a million is
no trouble. An account that changes meanwhile may be listed twice, but is not left out.
With -o json every account is an object on a line of its own.`,
		Example: `  imctl user list --begins al
  imctl user list --disabled -o json`,
		Args: mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := list.check(); err != nil {
				return err
			}
			if disabled && enabled {
				return wrongUse("--disabled and --enabled leave nobody: give one of them")
			}
			request := admin.ListUsers{Begins: begins, Limit: list.page()}
			if disabled || enabled {
				request.Disabled = &disabled
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.AllUsers(ctx, request))
			})
		},
	}
	c.Flags().StringVar(&begins, "begins", "", "only those whose account or name begins with this `text`")
	c.Flags().BoolVar(&disabled, "disabled", false, "only those that are disabled")
	c.Flags().BoolVar(&enabled, "enabled", false, "only those that are not disabled")
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}
