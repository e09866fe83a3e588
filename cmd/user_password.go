package cmd

import (
	"context"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"imctl/bridge/admin"
)

func newUserCreate(env *Env) *cobra.Command {
	var (
		user   admin.CreateUser
		output outputFormat
	)
	c := &cobra.Command{
		Use:   "create ACCOUNT",
		Short: "Make an account; the password is asked for, or read from standard input",
		Example: `  imctl user create alice --mail alice@example.org
  imctl user create bob < password.txt`,
		Args: wants("ACCOUNT"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			user.Account = args[0]
			for _, text := range []string{user.Name, user.Mail, user.Sex, user.Birthday, user.Sign} {
				if !utf8.ValidString(text) {
					return wrongUse("%q is not UTF-8", text)
				}
			}
			if user.Password, err = readPassword(c.Context(), env); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				u, err := client.CreateUser(ctx, user)
				if err != nil {
					return err
				}
				return writeUser(env, output, u, "created")
			})
		},
	}
	c.Flags().StringVar(&user.Name, "name", "", "name that others see (default the account)")
	c.Flags().StringVar(&user.Mail, "mail", "", "mail address")
	c.Flags().StringVar(&user.Sex, "sex", "", "sex")
	c.Flags().StringVar(&user.Birthday, "birthday", "", "birthday")
	c.Flags().StringVar(&user.Sign, "sign", "", "what the user says of itself")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newUserPasswd(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "passwd USER",
		Short: "Give an account another password; its sessions and tokens end",
		Long: `Gives an account another password, which is asked for, or read from standard input.
The account's sessions and tokens end.`,
		Example: "  imctl user passwd alice",
		Args:    wants("USER"),
		RunE: func(c *cobra.Command, args []string) error {
			password, err := readPassword(c.Context(), env)
			if err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				u, err := client.SetPassword(ctx, args[0], password)
				if err != nil {
					return err
				}
				return writeUser(env, output, u, "has the new password")
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// maxPasswordInput bounds what is read as a password. How long it may be is for the server to say.
const maxPasswordInput = 64 << 10

// readPassword asks for a new password twice, or reads the one line that standard input has.
func readPassword(ctx context.Context, env *Env) (password string, err error) {
	if env.Terminal != nil {
		password, err = askPassword(ctx, env.Terminal)
	} else {
		password, err = await(ctx, func() (string, error) { return readLine(env.In) })
	}
	switch {
	case err != nil:
		return "", err
	case password == "":
		return "", wrongUse("the password must not be empty")
	case !utf8.ValidString(password):
		// It would not be what is stored: the messages to the server are JSON.
		return "", wrongUse("the password is not UTF-8")
	}
	return password, nil
}

func askPassword(ctx context.Context, terminal Terminal) (string, error) {
	password, err := terminal.Password(ctx, "New password: ")
	if err != nil {
		return "", err
	}
	again, err := terminal.Password(ctx, "The same again: ")
	if err != nil {
		return "", err
	}
	if password != again {
		return "", errors.New("the two passwords differ; nothing was done")
	}
	return password, nil
}

func readLine(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPasswordInput+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxPasswordInput {
		return "", wrongUse("the password on standard input is too long")
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if strings.ContainsAny(line, "\r\n") {
		return "", wrongUse("standard input has more than the one line of the password")
	}
	return line, nil
}
