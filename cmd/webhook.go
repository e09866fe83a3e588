package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/eventlog"
	"imctl/bridge/webhook"
	"imctl/kv"
)

func newWebhook(env *Env) *cobra.Command {
	group := newGroup("webhook", "Administer webhooks, which post events to HTTP servers",
		newWebhookAdd(env),
		newWebhookList(env),
		newWebhookShow(env),
		newWebhookTest(env),
		newWebhookRotate(env),
		newWebhookChange(env, "enable", "Let a disabled webhook take events from now on", "enabled", (*admin.Client).EnableWebhook),
		newWebhookChange(env, "disable", "Stop a webhook, which takes no events then", "disabled", (*admin.Client).DisableWebhook),
		newWebhookRemove(env),
		newWebhookFailed(env),
	)
	group.Long = `Administer webhooks, which post events to HTTP servers.

A webhook posts the events that it names, by the format of Standard Webhooks: JSON, signed by a secret.
Failed events are posted again for webhooks.max_age, and are dead letters then.`
	return group
}

func newWebhookAdd(env *Env) *cobra.Command {
	var (
		request admin.AddWebhook
		output  outputFormat
	)
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a webhook and output its secret once",
		Long: `Add a webhook and output its secret, with which the destination verifies the signatures. The secret cannot
be shown again. The webhook posts events from now on.

All users of the machine can read a command line. With --url - the URL, which may have a secret, is read
from standard input.

Events are ` + strings.Join(wrap(strings.Join(eventlog.EventNames(), ", "), 95), "\n") + `.`,
		Example: `  imctl webhook add push --url https://push.example.org/hook --events dialogue.offline
  imctl webhook add audit --url https://example.org/x --events 'user.*,report' --rate 10
  imctl webhook add chat --url - --events report < url.txt`,
		Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			request.Name = args[0]
			if request.URL == "" || len(request.Events) == 0 {
				return usageErrorf("missing --url or --events")
			}
			if _, err := eventlog.EventFilters(request.Events); err != nil {
				return usageErrorf("--events: %w", err)
			}
			if request.URL == pipeName {
				var err error
				if request.URL, err = readURL(c.Context(), env); err != nil {
					return err
				}
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				w, err := client.AddWebhook(ctx, request)
				if err != nil {
					return err
				}
				return writeSecret(env, output, w)
			})
		},
	}
	c.Flags().StringVar(&request.URL, "url", "", "post to this `URL`, https unless webhooks.private is set (- = read it from standard input)")
	c.Flags().StringSliceVar(&request.Events, "events", nil, "`names` of events, joined by commas")
	c.Flags().BoolVar(&request.Payload, "payload", false, "include the text of dialogues")
	c.Flags().Float64Var(&request.Rate, "rate", 0, "post at most `N` events a second (0 = no limit)")
	c.Flags().IntVar(&request.Parallel, "parallel", webhook.DefaultParallel, "post at most `N` events at the same time")
	output.addTo(c.Flags())
	addServerFlags(c)
	completeFlag(c, "events", eventlog.EventNames()...)
	return c
}

// readURL reads a URL from a line of standard input.
func readURL(ctx context.Context, env *Env) (string, error) {
	line, err := await(ctx, func() (string, error) { return bufio.NewReader(io.LimitReader(env.In, maxURLInput)).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usageErrorf("standard input has no URL")
	}
	return line, nil
}

// maxURLInput is how many bytes of a URL are read. The server checks its length.
const maxURLInput = 16 << 10

// writeSecret writes the secret of a webhook, alone or with the webhook as JSON.
func writeSecret(env *Env, output outputFormat, w admin.WebhookSecret) error {
	if output.json() {
		return writeJSON(env.Out, w)
	}
	_, err := fmt.Fprintln(env.Out, w.Secret)
	return err
}

// host returns the host of a webhook. The rest of the URL may have a secret.
func host(to string) string {
	u, err := url.Parse(to)
	if err != nil {
		return "-"
	}
	return u.Host
}

func newWebhookList(env *Env) *cobra.Command {
	list := listing[webhook.Status]{
		header: []string{"name", "host", "events", "waiting", "failed", "created", "state"},
		row: func(w webhook.Status) []string {
			return []string{w.Name, host(w.URL), strings.Join(w.Events, ","), strconv.FormatUint(w.Waiting, 10), strconv.FormatUint(w.Failed, 10), localTime(w.Created), printable(w.State())}
		},
	}
	c := &cobra.Command{
		Use:   "list",
		Short: "List webhooks, with their queues",
		Long: `List webhooks. "waiting" is the number of events in the queue, and "failed" that of dead letters. A table
shows the host of a URL only.`,
		Example: "  imctl webhook list -o json",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				all, err := client.Webhooks(ctx)
				if err != nil {
					return err
				}
				return list.write(env.Out, onePage(all.Webhooks))
			})
		},
	}
	list.output.addTo(c.Flags())
	c.Flags().Lookup("output").Usage = linesHelp
	addServerFlags(c)
	return c
}

func newWebhookShow(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "show WEBHOOK",
		Short:   "Show a webhook",
		Long:    "Show a webhook with its URL, its limits and its state. The secret is not shown.",
		Example: "  imctl webhook show push",
		Args:    exactArgs("WEBHOOK"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				w, err := client.Webhook(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, w)
				}
				limit := "-"
				if w.Rate > 0 {
					limit = strconv.FormatFloat(w.Rate, 'g', -1, 64) + " a second"
				}
				return writeFields(env.Out, [][]string{{"name", w.Name}, {"url", printable(w.URL)}, {"events", strings.Join(w.Events, ",")}, {"payload", strconv.FormatBool(w.Payload)},
					{"rate", limit}, {"parallel", strconv.Itoa(w.Parallel)}, {"created", localTime(w.Created)}, {"old secret until", localTime(w.OldSecretUntil)},
					{"waiting", strconv.FormatUint(w.Waiting, 10)}, {"failed", strconv.FormatUint(w.Failed, 10)}, {"state", printable(w.State())}})
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newWebhookTest(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "test WEBHOOK",
		Short: "Post a test event once",
		Long: `Post an event of the type webhook.test, once and without the queue. Exit with 1 if the destination does not
answer with 2xx.`,
		Example: "  imctl webhook test push",
		Args:    exactArgs("WEBHOOK"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				r, err := client.TestWebhook(ctx, args[0])
				if err != nil {
					return err
				}
				problem := error(nil)
				if !r.OK {
					problem = errors.New(r.Problem)
				}
				if output.json() {
					return errors.Join(writeJSON(env.Out, r), problem)
				}
				if problem == nil {
					_, err = fmt.Fprintf(env.Out, "%s: %d in %s\n", args[0], r.Status, time.Duration(r.Duration*float64(time.Second)).Round(time.Millisecond))
				}
				return errors.Join(err, problem)
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newWebhookRotate(env *Env) *cobra.Command {
	var output outputFormat
	both := webhook.RotationTime
	c := &cobra.Command{
		Use:   "rotate WEBHOOK",
		Short: "Rotate the secret of a webhook and output the new one once",
		Long: `Rotate the secret of a webhook and output the new one. Requests have signatures of both secrets for the
time of --both, so the destination can change at any moment of it.`,
		Example: "  imctl webhook rotate push --both 48h",
		Args:    exactArgs("WEBHOOK"),
		RunE: func(c *cobra.Command, args []string) error {
			if both < 0 || both > webhook.MaxRotationTime {
				return usageErrorf("--both must be from 0 to %s", formatDuration(webhook.MaxRotationTime))
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				w, err := client.RotateWebhook(ctx, admin.RotateWebhook{Name: args[0], Both: both.String()})
				if err != nil {
					return err
				}
				return writeSecret(env, output, w)
			})
		},
	}
	c.Flags().Var((*ageFlag)(&both), "both", "`duration` for which both secrets sign (0 = the old one is invalid at once)")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newWebhookChange(env *Env, verb, short, done string, do func(*admin.Client, context.Context, string) (kv.Webhook, error)) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     verb + " WEBHOOK",
		Short:   short,
		Long:    short + ". Events in the queue stay there while a webhook is disabled.",
		Example: "  imctl webhook " + verb + " push",
		Args:    exactArgs("WEBHOOK"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				w, err := do(client, ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, w)
				}
				_, err = fmt.Fprintf(env.Out, "%s %s\n", w.Name, done)
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newWebhookRemove(env *Env) *cobra.Command {
	var output outputFormat
	yes := false
	c := &cobra.Command{
		Use:     "remove WEBHOOK",
		Short:   "Remove a webhook with its events and dead letters",
		Long:    "Remove a webhook with the events in its queue and its dead letters.",
		Example: "  imctl webhook remove push --yes",
		Args:    exactArgs("WEBHOOK"),
		RunE: func(c *cobra.Command, args []string) error {
			question := fmt.Sprintf("Remove the webhook %s, its events and its dead letters permanently?", printable(args[0]))
			if err := confirm(c.Context(), env, yes, question); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				w, err := client.RemoveWebhook(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, w)
				}
				_, err = fmt.Fprintf(env.Out, "%s removed\n", w.Name)
				return err
			})
		},
	}
	addYesFlag(c, &yes)
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// readWebhooks returns the webhooks of the server. A server of an older version has none.
func readWebhooks(ctx context.Context, client *admin.Client) ([]webhook.Status, error) {
	all, err := client.Webhooks(ctx)
	if errors.Is(err, admin.ErrNoService) {
		return nil, nil
	}
	return all.Webhooks, err
}

// webhooksText returns the number of webhooks, and what is to be said of each that is not empty and ok.
func webhooksText(all []webhook.Status) string {
	parts := []string{strconv.Itoa(len(all))}
	for _, w := range all {
		if w.State() != "ok" || w.Waiting+w.Failed > 0 {
			parts = append(parts, fmt.Sprintf("%s is %s, %s", w.Name, printable(w.State()), queueText(w)))
		}
	}
	return strings.Join(parts, "; ")
}

func queueText(w webhook.Status) string {
	return fmt.Sprintf("%d waiting, %s", w.Waiting, plural(int(w.Failed), "dead letter"))
}
