package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/kv"
)

func newUser(env *Env) *cobra.Command {
	group := newGroup("user", "Administer accounts",
		newUserList(env),
		newUserShow(env),
		newUserCreate(env),
		newUserPasswd(env),
		newUserChange(env, "disable", "disabled", "Bar an account: its sessions and tokens end", (*admin.Client).DisableUser),
		newUserChange(env, "enable", "enabled", "Let an account in again", (*admin.Client).EnableUser),
		newUserDelete(env),
		newUserExport(env),
		newUserImport(env),
	)
	group.Long = `Administer accounts.

USER is an account, or id: and the id. An id alone will do where somebody has it.

The server is the one that --context or --nats names, or the one that runs on the data directory.
Where none runs there, the command opens the directory itself, does its work and closes it.`
	return group
}

func newUserShow(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "show USER",
		Short:   "Show all about an account",
		Example: "  imctl user show alice -o json",
		Args:    wants("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				u, err := client.User(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, u)
				}
				return writeFacts(env.Out, userFacts(u))
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func userFacts(u admin.UserDetails) [][]string {
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

func userState(u admin.User) string {
	if u.Disabled {
		return "disabled"
	}
	return "enabled"
}

// localTime formats a time for people, "-" if it is unknown.
func localTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// newUserChange makes a command that does something to one user, and needs to know no more than which.
// done is what the user is then.
func newUserChange(env *Env, name, done, short string, do func(*admin.Client, context.Context, string) (admin.User, error)) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     name + " USER",
		Short:   short,
		Example: "  imctl user " + name + " alice",
		Args:    wants("USER"),
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
	c := newUserChange(env, "delete", "deleted", "Remove an account with its tokens, friendships and requests", deleteUser)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	remove := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		// Asked before anything is opened: nobody else should wait for the answer.
		question := fmt.Sprintf("Remove the account %s with its friendships, for good?", printable(args[0]))
		if err := confirm(c.Context(), env, yes, question); err != nil {
			return err
		}
		return remove(c, args)
	}
	return c
}

// deleteUser deletes an account. It also finds an account of which only the record is left: no lookup finds it, but user
// list shows it.
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
		return u, wrongUse("%d records have the account %q; use one of %s", len(found), ref, strings.Join(ids, ", "))
	}
	return client.DeleteUser(ctx, "id:"+found[0].ID)
}

// confirm returns nil when somebody says yes. Where nobody can be asked, only the flag says it.
func confirm(ctx context.Context, env *Env, yes bool, question string) error {
	if yes {
		return nil
	}
	if env.Terminal == nil {
		return &failure{code: exitUse, err: errors.New("there is no terminal to ask for consent"), todo: "give it by --yes"}
	}
	answer, err := env.Terminal.Line(ctx, question+" Type yes: ")
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// writeUser writes the user that a command has changed, and for people what became of it.
func writeUser(env *Env, output outputFormat, u admin.User, what string) error {
	if output.json() {
		return writeJSON(env.Out, u)
	}
	_, err := fmt.Fprintf(env.Out, "%s (%s) %s\n", printable(u.Account), u.ID, what)
	return err
}
