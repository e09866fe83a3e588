package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/kv"
)

func newAttach(env *Env) *cobra.Command {
	group := newGroup("attach", "Let programs in to NATS",
		newAttachAdd(env),
		newAttachList(env),
		newAttachRotate(env),
		newAttachRemove(env),
	)
	group.Long = `Let programs in to NATS.

An attachment is a program that logs in to NATS by a name and a secret of its own. Its role says what
it may do: a consumer reads a part of the log, a bridge is another imctl, an admin may do everything.`
	return group
}

const contextHelp = "write what the program needs into this `file`, as NATS clients and the nats tool read it"

func newAttachAdd(env *Env) *cobra.Command {
	var request admin.AddAttachment
	var role string
	var file contextFile
	var output outputFormat
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a program, and show or write its secret once",
		Long: `Adds a program. What it needs to log in is written into the file that --context names, which nobody
else may read; without --context it is the answer, as JSON. The secret can't be shown again.

A consumer gets a durable pull consumer of its name on the log's stream, from now on: what happens is
kept for it until it is acknowledged. Its filter is a part of the log, such as dialogue.> or
user.created.*; without one it reads all.`,
		Example: `  imctl attach add archive --role consumer --filter 'dialogue.>' --context archive.json
  imctl attach add second --role bridge > second.json`,
		Args: wants("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if role == "" {
				return wrongUse("--role is missing: consumer, bridge or admin")
			}
			request.Name, request.Role = args[0], kv.Role(role)
			return giveSecret(c, env, file, output, "added", func(ctx context.Context, client *admin.Client) (admin.AttachmentSecret, error) {
				return client.AddAttachment(ctx, request)
			})
		},
	}
	c.Flags().StringVar(&role, "role", "", "consumer, bridge or admin")
	c.Flags().StringVar(&request.Filter, "filter", "", "of a consumer: the part of the log, as a `subject`")
	file.addTo(c, "replace the file if it is there")
	output.addTo(c.Flags())
	completeFlag(c, "role", "consumer", "bridge", "admin")
	completeFlag(c, "filter", "dialogue.>", "user.>", "friend.>", "session.>")
	return c
}

func newAttachRotate(env *Env) *cobra.Command {
	var file contextFile
	var output outputFormat
	c := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a program another secret; its connections are closed",
		Long: `Gives a program another secret. Its connections are closed, and the old secret is good for nothing.
The file that --context names is written anew, if it is the program's; another one needs --force.
Without --context the answer is what the file would hold.`,
		Example: "  imctl attach rotate archive --context archive.json",
		Args:    wants("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			file.own = args[0]
			return giveSecret(c, env, file, output, "has another secret", func(ctx context.Context, client *admin.Client) (admin.AttachmentSecret, error) {
				return client.RotateAttachment(ctx, args[0])
			})
		},
	}
	file.addTo(c, "replace the file even if it is another's")
	output.addTo(c.Flags())
	return c
}

// giveSecret has a secret made and hands it out. The file is prepared before: a secret that can't be kept should not
// be made.
func giveSecret(c *cobra.Command, env *Env, file contextFile, output outputFormat, done string, do func(context.Context, *admin.Client) (admin.AttachmentSecret, error)) error {
	out, err := file.open(env)
	if err != nil {
		return err
	}
	defer out.Discard()
	return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
		a, err := do(ctx, client)
		if err != nil {
			return err
		}
		if url := client.URL(); url != "" {
			a.Context.URL = withoutUser(url) // as it can be reached from here
		}
		if a.Context.URL == "" {
			fmt.Fprintln(env.Err, "imctl: the server takes no NATS clients: set nats.listen, and the context's url to it")
		}
		if out == nil {
			if output.json() {
				return writeJSON(env.Out, a.Context)
			}
			return writeIndented(env.Out, a.Context)
		}
		if err := writeIndented(out, a.Context); err != nil {
			return err
		}
		if err := out.Commit(); err != nil {
			return &failure{exitFailed, fmt.Errorf("%s: %w; the secret is lost", file.path, err), "imctl attach rotate " + a.Name + " makes another"}
		}
		if output.json() {
			return writeJSON(env.Out, a.Attachment)
		}
		_, err = fmt.Fprintf(env.Out, "%s (%s) %s: %s\n", a.Name, a.Role, done, file.path)
		return err
	})
}

func newAttachList(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the programs that may log in to NATS",
		Example: "  imctl attach list -o json",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				all, err := client.Attachments(ctx)
				if err != nil {
					return err
				}
				list := listing[kv.Attachment]{output: output, header: []string{"name", "role", "filter", "created"}, row: func(a kv.Attachment) []string {
					return []string{a.Name, string(a.Role), orDash(a.Filter), localTime(a.Created)}
				}}
				return list.write(env.Out, onePage(all.Attachments))
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newAttachRemove(env *Env) *cobra.Command {
	var output outputFormat
	yes := false
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a program, with what is kept for it; its connections are closed",
		Long: `Removes a program. Its connections are closed, and it can't log in any more. Of a consumer the durable
consumer goes too, and with it what it has not read yet.`,
		Example: "  imctl attach remove archive --yes",
		Args:    wants("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := confirm(c.Context(), env, yes, fmt.Sprintf("Remove the attachment %s with what it has not read, for good?", printable(args[0]))); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				a, err := client.RemoveAttachment(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, a)
				}
				_, err = fmt.Fprintf(env.Out, "%s (%s) removed\n", a.Name, a.Role)
				return err
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
