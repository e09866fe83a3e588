package cmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/natsauth"
	"imctl/kv"
)

func newAttach(env *Env) *cobra.Command {
	group := newGroup("attach", "Administer the NATS access of programs",
		newAttachAdd(env),
		newAttachList(env),
		newAttachRotate(env),
		newAttachRemove(env),
		newAttachResume(env),
	)
	group.Long = `Administer the NATS access of programs.

An attachment lets a program log in to NATS with its own name and secret. The role sets its permissions:

consumer   reads a part of the log
reader     reads users, friendships and presence
service    is one user of the system, and reads what a reader may
moderator  answers hooks: it passes, replaces or refuses dialogues
auth       answers questions about logins
gateway    speaks for users of its own, as a bridge to another network does
bridge     is another imctl
admin      administers this imctl`
	return group
}

const contextHelp = "write the address and credentials to this `file`, a context for NATS clients and the nats tool"

func newAttachAdd(env *Env) *cobra.Command {
	var request admin.AddAttachment
	var role string
	var filters []string
	var accounts string
	var maxUsers int
	var file contextFile
	var output outputFormat
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Add an attachment and output its credentials once",
		Long: `Add an attachment. Its credentials are written to the file of --context, readable by its owner only, or
to standard output as JSON. The secret cannot be shown again. If the server is attached to a NATS server
that does not let its NATS clients log in, nothing is added.

For a consumer, a durable pull consumer with the name of the attachment is created on the stream of the
log. It keeps every later entry until the program acknowledges it. --filter restricts it to a part of the
log, such as dialogue.> or user.created.*. It may be repeated, unless one filter includes another. A
reader has such a consumer for user.>, friend.> and presence.>, and calls that read users, friendships and
presence. --filter restricts it to a part of these.

A service is one account of the system, --user, which it uses without a password. The account is added if
it does not exist. A service can send only to friends of the account. With --befriend it may become a
friend of each user once without asking; the user can remove or block it as any friend.

A gateway registers and uses accounts of its own. --accounts is what they begin with, and a star. No client
and no other gateway can register such an account.`,
		Example: `  imctl attach add archive --role consumer --filter 'dialogue.>' --context archive.json
  imctl attach add directory --role reader --context directory.json
  imctl attach add alerts --role service --user alerts --befriend --context alerts.json
  imctl attach add matrix --role gateway --accounts 'matrix_*' --context matrix.json
  imctl attach add second --role bridge > second.json`,
		Args: exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if role == "" {
				return usageErrorf("missing --role: %s", strings.Join(kv.RoleNames(), ", "))
			}
			if (request.User != "") != (kv.Role(role) == kv.RoleService) {
				return usageErrorf("--role service requires --user, and other roles have none")
			}
			if request.Befriends && kv.Role(role) != kv.RoleService {
				return usageErrorf("--befriend requires --role service")
			}
			request.Name, request.Role = args[0], kv.Role(role)
			request.Accounts, request.MaxUsers = accounts, maxUsers
			if (request.Role == kv.RoleGateway) != (accounts != "") {
				return usageErrorf("a gateway, and no other role, needs --accounts, such as 'matrix_*'")
			}
			if len(filters) > 0 {
				request.Filter, request.Filters = filters[0], filters[1:]
			}
			return outputSecret(c, env, file, output, "added", func(ctx context.Context, client *admin.Client) (admin.AttachmentSecret, error) {
				return client.AddAttachment(ctx, request)
			})
		},
	}
	c.Flags().StringVar(&role, "role", "", "`role`: "+strings.Join(kv.RoleNames(), ", "))
	c.Flags().StringArrayVar(&filters, "filter", nil, "for a consumer or a reader: only entries with this `subject`, may be repeated (default all)")
	c.Flags().StringVar(&request.User, "user", "", "for a service: its `account`, which is added if it does not exist")
	c.Flags().BoolVar(&request.Befriends, "befriend", false, "for a service: let it become a friend of each user once without asking")
	c.Flags().StringVar(&accounts, "accounts", "", "for a gateway: the `accounts` that it may register, such as 'matrix_*'")
	c.Flags().IntVar(&maxUsers, "max-users", 0, "for a gateway: how many users it may have (default limits.gateway_users)")
	file.addTo(c, "replace an existing file")
	output.addTo(c.Flags())
	completeFlag(c, "role", kv.RoleNames()...)
	completeFlag(c, "filter", "dialogue.>", "user.>", "friend.>", "session.>", "presence.>", "report.>")
	return c
}

func newAttachRotate(env *Env) *cobra.Command {
	var file contextFile
	var output outputFormat
	c := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Rotate the secret of an attachment and close its connections",
		Long: `Rotate the secret of an attachment. The old secret becomes invalid, and all connections that use it are
closed.

The credentials are written to the file of --context, or to standard output as JSON. The file is replaced
if it is the context of this attachment. --force replaces any file.`,
		Example: "  imctl attach rotate archive --context archive.json",
		Args:    exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			file.own = args[0]
			return outputSecret(c, env, file, output, "has a new secret", func(ctx context.Context, client *admin.Client) (admin.AttachmentSecret, error) {
				return client.RotateAttachment(ctx, args[0])
			})
		},
	}
	file.addTo(c, "replace the file even if it belongs to another attachment")
	output.addTo(c.Flags())
	return c
}

// outputSecret calls do to create a secret, and writes it to file or standard output. It opens the file first, so that
// no secret is created that cannot be stored.
func outputSecret(c *cobra.Command, env *Env, file contextFile, output outputFormat, done string, do func(context.Context, *admin.Client) (admin.AttachmentSecret, error)) error {
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
			a.Context.URL = withoutUser(url) // the address that this command has reached
		}
		if a.Context.URL == "" {
			fmt.Fprintln(env.Err, "imctl: the server does not accept NATS clients; set nats.listen, and set url in the context to that address")
		}
		if a.ClientCert {
			fmt.Fprintln(env.Err, "imctl: the NATS server may require a client certificate; set cert and key in the context to the program's own")
		}
		if a.Unanswered {
			fmt.Fprintln(env.Err, "imctl: the calls of "+a.Name+" are not answered; replace the output of imctl nats config in the configuration of the NATS server with that of this version, and restart it")
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
			return &failure{exitFailed, fmt.Errorf("%s: %w; the secret is lost", file.path, err), "use imctl attach rotate " + a.Name + " to create another one"}
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
		Short:   "List attachments, and how far their consumers are behind",
		Long:    attachListHelp,
		Example: "  imctl attach list -o json",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				all, err := client.Attachments(ctx)
				if err != nil {
					return err
				}
				list := listing[natsauth.Status]{output: output, header: attachHeader, row: attachRow}
				return list.write(env.Out, onePage(all.Attachments))
			})
		},
	}
	output.addTo(c.Flags())
	c.Flags().Lookup("output").Usage = linesHelp
	addServerFlags(c)
	return c
}

func newAttachRemove(env *Env) *cobra.Command {
	var output outputFormat
	yes := false
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an attachment and close its connections",
		Long: `Remove an attachment and close its connections. The program can no longer log in. The durable consumer of
a consumer is removed too, with its unread entries. The users of a gateway are kept, offline: a gateway that
is added with the same name speaks for them again.`,
		Example: "  imctl attach remove archive --yes",
		Args:    exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			question := fmt.Sprintf("Remove the attachment %s and its unread entries permanently?", printable(args[0]))
			if err := confirm(c.Context(), env, yes, question); err != nil {
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
	addYesFlag(c, &yes)
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
