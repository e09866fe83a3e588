package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newReport(env *Env) *cobra.Command {
	group := newGroup("report", "List and remove reports of users about others",
		newReportList(env),
		newReportShow(env),
		newReportRemove(env),
	)
	group.Long = `List and remove reports of users about others.

A user has at most one pending report about another user: a later one replaces it.`
	return group
}

func newReportList(env *Env) *cobra.Command {
	list := &listing[admin.Report]{
		header: []string{"id", "time", "by", "account", "text"},
		row: func(r admin.Report) []string {
			return []string{r.ID, localTime(r.Time), orDash(r.ByName), orDash(r.Account), orDash(shorten(r.Text))}
		},
	}
	c := &cobra.Command{
		Use:   "list",
		Short: "List the reports, oldest first",
		Long:  `List the reports of users about others, oldest first. A long text is cut: imctl report show has all of it.`,
		Example: `  imctl report list
  imctl report list -o json`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := list.check(); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.Reports(ctx, admin.ListReports{Limit: list.pageSize()}))
			})
		},
	}
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newReportShow(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "show REPORT",
		Short: "Show a report",
		Long: `Show a report. REPORT is the id that the list shows. The dialogue is what the user who reports sent as
evidence.`,
		Example: "  imctl report show 019ad0c3f2a17b3c9d2e4f60",
		Args:    exactArgs("REPORT"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				r, err := client.Report(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, r)
				}
				return writeFields(env.Out, [][]string{{"id", r.ID}, {"time", localTime(r.Time)}, {"by", orDash(r.ByName)}, {"by id", r.By},
					{"user", orDash(r.Account)}, {"user id", r.User}, {"text", orDash(r.Text)}, {"dialogue", orDash(r.Dialogue)}})
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newReportRemove(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "remove REPORT",
		Short:   "Remove a report",
		Long:    `Remove a report that has been dealt with. The accounts are not changed.`,
		Example: "  imctl report remove 019ad0c3f2a17b3c9d2e4f60",
		Args:    exactArgs("REPORT"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				r, err := client.RemoveReport(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, r)
				}
				_, err = fmt.Fprintf(env.Out, "report %s removed\n", r.ID)
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
