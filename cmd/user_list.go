package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newUserList(env *Env) *cobra.Command {
	var begins, gateway string
	var disabled, enabled bool
	list := &listing[admin.User]{
		header: []string{"account", "name", "mail", "created", "state", "source", "id"},
		row: func(u admin.User) []string {
			return []string{u.Account, u.Name, orDash(u.Mail), localTime(u.Created), userState(u), userSource(u), u.ID}
		},
	}
	c := &cobra.Command{
		Use:   "list",
		Short: "List accounts",
		Long: `List accounts in the order of their last change. The output starts at once, whatever the number of
accounts. An account that changes during the listing may appear twice, but is never left out. With
-o json, each account is one line of JSON. The state of an account that a gateway has registered names the
gateway.`,
		Example: `  imctl user list --begins al
  imctl user list --disabled -o json
  imctl user list --gateway matrix`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := list.check(); err != nil {
				return err
			}
			if disabled && enabled {
				return usageErrorf("--disabled and --enabled exclude each other")
			}
			request := admin.ListUsers{Begins: begins, Gateway: gateway, Limit: list.pageSize()}
			if disabled || enabled {
				request.Disabled = &disabled
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.AllUsers(ctx, request))
			})
		},
	}
	c.Flags().StringVar(&begins, "begins", "", "list only accounts whose account or name begins with this `text`")
	c.Flags().StringVar(&gateway, "gateway", "", "list only accounts of the gateway with this `name`")
	c.Flags().BoolVar(&disabled, "disabled", false, "list only disabled accounts")
	c.Flags().BoolVar(&enabled, "enabled", false, "list only enabled accounts")
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}
