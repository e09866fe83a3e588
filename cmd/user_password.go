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
		Short: "Create an account",
		Long: `Create an account. The command prompts for the password, or reads it from standard input if that is not
a terminal.`,
		Example: `  imctl user create alice --mail alice@example.org
  imctl user create bob < password.txt`,
		Args: exactArgs("ACCOUNT"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			user.Account = args[0]
			for _, text := range []string{user.Name, user.Mail, user.Sex, user.Birthday, user.Sign} {
				if !utf8.ValidString(text) {
					return usageErrorf("%q is not valid UTF-8", text)
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
	c.Flags().StringVar(&user.Name, "name", "", "name that other users see (default is the account)")
	c.Flags().StringVar(&user.Mail, "mail", "", "mail address")
	c.Flags().StringVar(&user.Sex, "sex", "", "sex")
	c.Flags().StringVar(&user.Birthday, "birthday", "", "birthday")
	c.Flags().StringVar(&user.Sign, "sign", "", "status message of the user")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newUserPasswd(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "passwd USER",
		Short: "Change the password of an account",
		Long: `Change the password of an account, end its sessions and revoke its tokens. The command prompts for the
password, or reads it from standard input if that is not a terminal.`,
		Example: "  imctl user passwd alice",
		Args:    exactArgs("USER"),
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
				return writeUser(env, output, u, "password changed")
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// maxPasswordInput is how many bytes of a password are read. The server checks the maximum length of a password.
const maxPasswordInput = 64 << 10

// readPassword prompts for a new password twice. Without a terminal it reads one line from standard input.
func readPassword(ctx context.Context, env *Env) (password string, err error) {
	if env.Terminal != nil {
		password, err = promptPassword(ctx, env.Terminal)
	} else {
		password, err = await(ctx, func() (string, error) { return readLine(env.In) })
	}
	switch {
	case err != nil:
		return "", err
	case password == "":
		return "", usageErrorf("the password must not be empty")
	case !utf8.ValidString(password):
		// The requests to the server are JSON, which would change the password.
		return "", usageErrorf("the password is not valid UTF-8")
	}
	return password, nil
}

func promptPassword(ctx context.Context, terminal Terminal) (string, error) {
	password, err := terminal.Password(ctx, "New password: ")
	if err != nil {
		return "", err
	}
	repeated, err := terminal.Password(ctx, "Repeat the password: ")
	if err != nil {
		return "", err
	}
	if password != repeated {
		return "", errors.New("the passwords do not match; nothing was changed")
	}
	return password, nil
}

func readLine(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPasswordInput+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxPasswordInput {
		return "", usageErrorf("the password on standard input is longer than %d bytes", maxPasswordInput)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if strings.ContainsAny(line, "\r\n") {
		return "", usageErrorf("standard input has more than one line; the password must be a single line")
	}
	return line, nil
}
