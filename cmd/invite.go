package cmd

import (
	"context"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/kv"
)

func newInvite(env *Env) *cobra.Command {
	group := newGroup("invite", "Administer invites to register",
		newInviteCreate(env),
		newInviteList(env),
		newInviteRevoke(env),
	)
	group.Long = `Administer invites to register.

While the setting registration is invite, a client needs an invite to create an account. An invite is a
link to the page. The server stores only the hash of its secret.`
	return group
}

func newInviteCreate(env *Env) *cobra.Command {
	var (
		request admin.CreateInvite
		expires time.Duration
		output  outputFormat
	)
	c := &cobra.Command{
		Use:   "create",
		Short: "Create an invite and output its link once",
		Long: `Create an invite and output its link. The link has the secret, which cannot be shown again. Each account
that is created with the invite uses it once.

The link begins with the address of the running server, as far as the server knows it. Behind a proxy,
or if no server is running, set --url.`,
		Example: `  imctl invite create --note "for Ada"
  imctl invite create --uses 30 --expires 72h --url https://im.example.org`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case request.Uses < 1 || request.Uses > admin.MaxInviteUses:
				return usageErrorf("--uses must be from 1 to %d", admin.MaxInviteUses)
			case expires != 0 && (expires < time.Second || expires > admin.MaxInviteLife):
				return usageErrorf("--expires must be 0, or from 1s to %s", formatDuration(admin.MaxInviteLife))
			case !utf8.ValidString(request.Note):
				return usageErrorf("--note is not valid UTF-8")
			}
			if request.URL != "" {
				if err := baseURL(request.URL); err != nil {
					return usageErrorf("--url: %w", err)
				}
			}
			if expires != 0 {
				request.Expires = expires.String()
			}
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				invite, err := s.CreateInvite(ctx, request)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, invite)
				}
				_, err = fmt.Fprintln(env.Out, invite.Link)
				return err
			})
		},
	}
	c.Flags().IntVar(&request.Uses, "uses", 1, "create at most `N` accounts with the invite")
	expires = 7 * day
	c.Flags().Var((*ageFlag)(&expires), "expires", "`duration` until the invite expires, such as 72h or 30d (0 = never)")
	c.Flags().StringVar(&request.Note, "note", "", "`text` that the list of invites shows")
	c.Flags().StringVar(&request.URL, "url", "", "`URL` of the server, as browsers reach it (default is http.url)")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newInviteList(env *Env) *cobra.Command {
	list := &listing[kv.Invite]{
		header: []string{"id", "state", "used", "uses", "created", "expires", "note"},
		row: func(i kv.Invite) []string {
			return []string{i.ID, inviteState(i), strconv.Itoa(i.Used), strconv.Itoa(i.Uses), localTime(i.Created), localTime(i.Expires), orDash(i.Note)}
		},
	}
	c := &cobra.Command{
		Use:   "list",
		Short: "List invites, oldest first",
		Long: `List invites, oldest first: how often each may be used, how often it was used, and until when it is valid.
The links are not shown: the server does not store them.`,
		Example: "  imctl invite list -o json",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := list.check(); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				return list.write(env.Out, client.Invites(ctx, admin.ListInvites{Limit: list.pageSize()}))
			})
		},
	}
	list.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// inviteState returns the reason why an invite cannot be used, or "valid".
func inviteState(i kv.Invite) string {
	switch {
	case i.Used >= i.Uses:
		return "used up"
	case i.Expired(time.Now()):
		return "expired"
	}
	return "valid"
}

func newInviteRevoke(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke an invite",
		Long:    `Revoke an invite and remove it from the list. Accounts that were created with it stay.`,
		Example: "  imctl invite revoke 9f86d081884c7d65",
		Args:    exactArgs("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				invite, err := client.RevokeInvite(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, invite)
				}
				_, err = fmt.Fprintf(env.Out, "%s revoked\n", invite.ID)
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}
