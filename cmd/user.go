package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/identity"
	"imctl/kv"
)

func newUser(env *Env) *cobra.Command {
	group := newGroup("user", "Administer accounts",
		newUserList(env),
		newUserShow(env),
		newUserCreate(env),
		newUserPasswd(env),
		newUserSource(env),
		newUserChange(env, "disable", "disabled", "Disable an account, end its sessions and revoke its tokens",
			"The account keeps its data and friends, and cannot log in until imctl user enable.", (*admin.Client).DisableUser),
		newUserChange(env, "enable", "enabled", "Enable a disabled account",
			"The user can log in again, with the same password.", (*admin.Client).EnableUser),
		newUserDelete(env),
		newUserExport(env),
		newUserImport(env),
	)
	group.Long = `Administer accounts.

USER is an account, or id:ID. The prefix can be omitted if the id exists.

The commands use the server of --context or --nats, or else the server that runs on the data
directory. If no server is running, they open the data directory themselves.`
	return group
}

func newUserShow(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "show USER",
		Short:   "Show an account",
		Long:    `Show an account with its profile, and the number of its friends, requests, tokens and sessions.`,
		Example: "  imctl user show alice -o json",
		Args:    exactArgs("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				u, err := client.User(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, u)
				}
				return writeFields(env.Out, userFields(u))
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func userFields(u admin.UserDetails) [][]string {
	picture, sessions := "-", "-"
	if u.Picture != "" {
		picture = Size(len(u.Picture)).String()
	}
	if u.Sessions != nil {
		sessions = strconv.Itoa(*u.Sessions)
	}
	return [][]string{
		{"account", u.Account},
		{"id", u.ID},
		{"state", userState(u.User)},
		{"name", u.Name},
		{"mail", orDash(u.Mail)},
		{"source", userSource(u.User)},
		{"sex", orDash(u.Sex)},
		{"birthday", orDash(u.Birthday)},
		{"sign", orDash(u.Sign)},
		{"picture", picture},
		{"created", localTime(u.Created)},
		{"friends", strconv.Itoa(u.Friends)},
		{"requests", strconv.Itoa(u.Requests)},
		{"tokens", strconv.Itoa(u.Tokens)},
		{"sessions", sessions},
	}
}

// userState returns whether an account is enabled, and its gateway.
func userState(u admin.User) string {
	state := "enabled"
	if u.Disabled {
		state = "disabled"
	}
	if u.Gateway != "" {
		state += ", gateway " + u.Gateway
	}
	return state
}

// userSource returns what checks the sign-in of a user.
func userSource(u admin.User) string { return cmp.Or(u.Source, identity.Builtin) }

// localTime formats t as RFC 3339 in the local time zone. It returns "-" for the zero time.
func localTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.RFC3339)
}

// newUserChange returns a command that changes a user. do makes the change, and done is its participle for the output,
// such as "deleted".
func newUserChange(env *Env, name, done, short, long string, do func(*admin.Client, context.Context, string) (admin.User, error)) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     name + " USER",
		Short:   short,
		Long:    short + ".\n\n" + long,
		Example: "  imctl user " + name + " alice",
		Args:    exactArgs("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				u, err := do(client, ctx, args[0])
				if err != nil {
					return err
				}
				return writeUser(env, output, u, done)
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newUserDelete(env *Env) *cobra.Command {
	yes := false
	c := newUserChange(env, "delete", "deleted", "Delete an account with its tokens, friendships and requests",
		"The account cannot be restored, except from a backup.", deleteUser)
	addYesFlag(c, &yes)
	remove := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		// Ask before the data directory is locked, so that no other command waits for the answer.
		question := fmt.Sprintf("Delete the account %s and its friendships permanently?", printable(args[0]))
		if err := confirm(c.Context(), env, yes, question); err != nil {
			return err
		}
		return remove(c, args)
	}
	return c
}

// deleteUser deletes an account. A record without its claim is found by no lookup, but user list shows it. deleteUser
// searches the list for such a record.
func deleteUser(client *admin.Client, ctx context.Context, ref string) (admin.User, error) {
	u, err := client.DeleteUser(ctx, ref)
	var refused *admin.Error
	id, isID := strings.CutPrefix(ref, "id:")
	if isID && kv.ValidID(id) || !errors.As(err, &refused) || refused.Code != admin.NotFound {
		return u, err
	}
	found, listing := client.WithAccount(ctx, ref)
	switch {
	case listing != nil:
		return u, listing
	case len(found) == 0:
		return u, err
	case len(found) > 1:
		ids := make([]string, len(found))
		for i, f := range found {
			ids[i] = "id:" + f.ID
		}
		return u, usageErrorf("%d records have the account %q; use one of %s", len(found), ref, strings.Join(ids, ", "))
	}
	return client.DeleteUser(ctx, "id:"+found[0].ID)
}

// addYesFlag adds the flag --yes, which skips confirm.
func addYesFlag(c *cobra.Command, yes *bool) {
	c.Flags().BoolVar(yes, "yes", false, "skip the confirmation prompt")
}

// confirm returns nil if yes is set or the user answers yes. It returns an error otherwise, and if there is no
// terminal.
func confirm(ctx context.Context, env *Env, yes bool, question string) error {
	if yes {
		return nil
	}
	if env.Terminal == nil {
		return &failure{code: exitUse, err: errors.New("cannot ask for confirmation without a terminal"), remedy: "use --yes to confirm"}
	}
	answer, err := env.Terminal.Line(ctx, question+" Type yes to confirm: ")
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer != "yes" {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}

// writeUser writes a changed user as JSON, or as a line that ends with done, such as "deleted".
func writeUser(env *Env, output outputFormat, u admin.User, done string) error {
	if output.json() {
		return writeJSON(env.Out, u)
	}
	_, err := fmt.Fprintf(env.Out, "%s (%s) %s\n", printable(u.Account), u.ID, done)
	return err
}
