package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

type userListOptions struct {
	begins            string
	disabled, enabled bool
	limit             int
	output            outputFormat
}

func newUserList(env *Env) *cobra.Command {
	var o userListOptions
	c := &cobra.Command{
		Use:   "list",
		Short: "List accounts",
		Long: `Lists accounts in the order in which they were last changed, as they come: a million is
no trouble. An account that changes meanwhile may be listed twice, but is not left out.

With -o json every account is an object on a line of its own.`,
		Args: mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.limit < 0 {
				return wrongUse("--limit must not be negative")
			}
			if o.disabled && o.enabled {
				return wrongUse("--disabled and --enabled leave nobody: give one of them")
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return listUsers(ctx, env, client, o)
			})
		},
	}
	c.Flags().StringVar(&o.begins, "begins", "", "only those whose account or name begins with this `text`")
	c.Flags().BoolVar(&o.disabled, "disabled", false, "only those that are disabled")
	c.Flags().BoolVar(&o.enabled, "enabled", false, "only those that are not disabled")
	c.Flags().IntVar(&o.limit, "limit", 0, "at most so `many`; 0: all")
	o.output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func listUsers(ctx context.Context, env *Env, client *admin.Client, o userListOptions) error {
	request := admin.ListUsers{Begins: o.begins}
	if o.limit > 0 {
		request.Limit = min(o.limit, admin.MaxPage)
	}
	if o.disabled || o.enabled {
		request.Disabled = &o.disabled
	}
	write := writeUserRows(env)
	if o.output.json() {
		write = func(users []admin.User) error {
			for _, u := range users {
				if err := writeJSON(env.Out, u); err != nil {
					return err
				}
			}
			return nil
		}
	}
	listed := 0
	for users, err := range client.AllUsers(ctx, request) {
		if err != nil {
			return err
		}
		if o.limit > 0 && listed+len(users) > o.limit {
			users = users[:o.limit-listed]
		}
		if err := write(users); err != nil {
			return err
		}
		if listed += len(users); o.limit > 0 && listed == o.limit {
			return nil
		}
	}
	return nil
}

func writeUserRows(env *Env) func([]admin.User) error {
	t := newTable(env.Out, "account", "name", "mail", "created", "state", "id")
	return func(users []admin.User) error {
		rows := make([][]string, len(users))
		for i, u := range users {
			rows[i] = []string{u.Account, u.Name, orDash(u.Mail), localTime(u.Created), userState(u), u.ID}
		}
		return t.write(rows...)
	}
}
