package cmd

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/webhook"
)

func newWebhookFailed(env *Env) *cobra.Command {
	group := newGroup("failed", "Administer the dead letters of a webhook",
		newFailedList(env),
		newFailedShow(env),
		newFailedEach(env, "replay", "Queue dead letters again", "queued again", (*admin.Client).ReplayFailed),
		newFailedEach(env, "drop", "Remove dead letters", "dropped", (*admin.Client).DropFailed),
	)
	group.Long = `Administer the dead letters of a webhook: events that it could not post within webhooks.max_age, or for
which its queue had no room. Each webhook has 1000 at most, for webhooks.failed_age; more drop the oldest.`
	return group
}

func newFailedList(env *Env) *cobra.Command {
	list := &listing[webhook.Failed]{
		header: []string{"id", "type", "queued", "failed", "attempts", "reason"},
		row: func(f webhook.Failed) []string {
			return []string{strconv.FormatUint(f.ID, 10), printable(f.Type), localTime(f.Queued), localTime(f.Time), strconv.FormatUint(f.Attempts, 10), printable(f.Reason)}
		},
	}
	c := &cobra.Command{
		Use:     "list WEBHOOK",
		Short:   "List dead letters, oldest first",
		Long:    "List the dead letters of a webhook, oldest first.",
		Example: "  imctl webhook failed list push",
		Args:    exactArgs("WEBHOOK"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := list.check(); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.FailedEvents(ctx, admin.ListFailed{Name: args[0], Limit: list.pageSize()}))
			})
		},
	}
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newFailedShow(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:     "show WEBHOOK EVENT",
		Short:   "Show a dead letter as JSON",
		Long:    "Show a dead letter of a webhook as JSON, with its event. The text of a dialogue is left out.",
		Example: "  imctl webhook failed show push 17",
		Args:    exactArgs("WEBHOOK", "EVENT"),
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := deadLetters(args[1:])
			if err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				f, err := client.FailedEvent(ctx, args[0], ids[0])
				if err != nil {
					return err
				}
				return writeIndented(env.Out, f)
			})
		},
	}
	addServerFlags(c)
	return c
}

func newFailedEach(env *Env, verb, short, done string, do func(*admin.Client, context.Context, string, ...uint64) (admin.FailedCount, error)) *cobra.Command {
	var output outputFormat
	all := false
	c := &cobra.Command{
		Use:     verb + " WEBHOOK [EVENT...]",
		Short:   short,
		Long:    short + ", by the ids that imctl webhook failed list shows, or all of the webhook with --all.",
		Example: "  imctl webhook failed " + verb + " push 17 18\n  imctl webhook failed " + verb + " push --all",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageErrorf("missing argument WEBHOOK")
			case slices.Contains(args, ""):
				return usageErrorf("an argument must not be empty")
			case all == (len(args) > 1):
				return usageErrorf("use ids of dead letters or --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := deadLetters(args[1:])
			if err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				n, err := do(client, ctx, args[0], ids...)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, n)
				}
				_, err = fmt.Fprintf(env.Out, "%s %s\n", plural(n.Count, "dead letter"), done)
				return err
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, verb+" all dead letters of the webhook")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// deadLetters returns the ids of dead letters.
func deadLetters(args []string) (ids []uint64, err error) {
	for _, arg := range args {
		id, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || id == 0 {
			return nil, usageErrorf("%q is no id of a dead letter: see imctl webhook failed list", arg)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
