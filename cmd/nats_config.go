package cmd

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"

	"imctl/embedded"
)

// attachUser is the user of an attached bridge if the configuration does not name one.
const attachUser = "imctl"

// The modes of imctl nats config: what the NATS server has already.
const (
	modeFile     = "file"     // no users and no accounts
	modeMerge    = "merge"    // a block authorization with users, or a block accounts
	modeOperator = "operator" // accounts and users as signed tokens
)

// anonymousUser is the user of clients without credentials, of a server that had no users.
const anonymousUser = "imctl-anonymous"

// natsConfigRequest is what imctl nats config prints.
type natsConfigRequest struct {
	mode      string
	users     []string // of the default account
	anonymous bool
	ownSystem bool
	dir       string
	force     bool
}

func newNATSConfig(env *Env) *cobra.Command {
	r := natsConfigRequest{mode: modeFile, dir: "."}
	c := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration that a NATS server needs for imctl",
		Long: `Print the configuration that lets imctl attach to an existing NATS server, version 2.12 or later, instead
of running its own. --mode selects the kind of server:

  file      The server has no users and no accounts. Include the output in its configuration:

              imctl nats config > imctl.conf
              echo 'include "imctl.conf"' >> nats-server.conf

            From then on NATS refuses clients without credentials. --anonymous keeps them, in the default
            account, with its data.
  merge     The server has a block authorization or a block accounts. NATS uses only the last of two blocks
            with the same name, so the command writes two files to --dir, and prints the lines that include
            them in the blocks. Name each user of the block authorization with --user, or its nkey: the
            default account is the one of which NATS asks imctl. Users of named accounts need no --user. A
            single user and password, or a token, cannot stay: make them an entry of users first.
            --system tells that the server has a system account. The output then has the user to add to it.
  operator  The server is in operator mode. The command writes the signing key of the accounts to --dir,
            and prints the nsc commands and the settings of imctl.

If nats.url has a user and password, the output is for that user. Otherwise it contains the hash of a new
secret. The secret itself is printed once, to standard error, with the setting for the configuration of
imctl. Several installations with different nats.prefix may share one NATS with the same output.

A NATS server with accounts has no JetStream in the default account. If that account has streams, move its
users into an account with a name, with jetstream: enabled, and while a single server is stopped rename
the directory jetstream/$G below store_dir to that name. On a cluster, back the streams up and restore
them with the nats tool.

The user of imctl may do anything in its account. A comment in the output has the permissions that are
enough for this nats.prefix, to add to the user; those of the scheduled backups are among them, since
backup.dir can be set later.

NATS cannot reload these settings. Restart the server.`,
		Example: `  imctl nats config > imctl.conf
  imctl nats config --mode merge --user alice --user bob --dir /etc/nats
  imctl nats config --mode operator > imctl-accounts.sh`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := r.check(); err != nil {
				return err
			}
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			if r.mode == modeOperator {
				return r.printOperator(env, config)
			}
			return r.print(env, config)
		},
	}
	c.Flags().StringVar(&r.mode, "mode", r.mode, "what the NATS server has: file, merge or operator `mode`")
	c.Flags().StringArrayVar(&r.users, "user", nil, "`name` of a user in the block authorization, which continues to log in; may be repeated")
	c.Flags().BoolVar(&r.anonymous, "anonymous", false, "let clients without credentials use the default account")
	c.Flags().BoolVar(&r.ownSystem, "system", false, "the server has a system account of its own")
	c.Flags().StringVar(&r.dir, "dir", r.dir, "`directory` for the files of the modes merge and operator")
	c.Flags().BoolVar(&r.force, "force", false, "replace existing files")
	completeFlag(c, "mode", modeFile, modeMerge, modeOperator)
	addSettingFlags(c.Flags(), "nats.url")
	return c
}

// check returns the first mistake in the flags.
func (r natsConfigRequest) check() error {
	switch {
	case r.mode != modeFile && r.mode != modeMerge && r.mode != modeOperator:
		return usageErrorf("--mode must be file, merge or operator, not %q", r.mode)
	case r.mode == modeOperator && (len(r.users) > 0 || r.anonymous || r.ownSystem):
		return usageErrorf("--user, --anonymous and --system do not apply to --mode operator")
	case r.mode == modeFile && len(r.users) > 0:
		return usageErrorf("--user requires --mode merge: the output replaces the block authorization with the users")
	case r.mode == modeMerge && r.anonymous:
		return usageErrorf("--anonymous requires --mode file: name the user of no_auth_user with --user")
	}
	return nil
}

// print prints the configuration of a server whose users are in its configuration.
func (r natsConfigRequest) print(env *Env, config *Config) error {
	c := config.NATS
	// A random secret does not need an expensive hash, and NATS computes the hash at each login.
	name, secret, cost, fresh := attachUser, "", bcrypt.DefaultCost, true
	if c.Context == "" {
		if user, _, ok := attachedSettings(c).user(); ok {
			name, fresh = user.Username(), false
			secret, _ = user.Password()
		}
	}
	if fresh {
		secret, cost = newSecret(), bcrypt.MinCost
	}
	for _, user := range r.users {
		if slices.Contains([]string{name, name + calloutSuffix, name + systemSuffix}, user) {
			return usageErrorf("--user %s is the name of a user of imctl: set another one in nats.url", printable(user))
		}
	}
	accounts, err := natsAccounts(name, secret, cost)
	if err != nil {
		return err
	}
	accounts.Others, accounts.OwnSystem, accounts.Domain = r.users, r.ownSystem, c.Domain
	if r.anonymous {
		accounts.Anonymous = anonymousUser
	}
	if r.mode == modeMerge {
		err = r.writeParts(env, accounts, permissionsHint(c))
	} else {
		_, err = io.WriteString(env.Out, natsConfigHead+r.systemHint(accounts)+permissionsHint(c)+accounts.Text())
	}
	if err != nil || !fresh {
		return err
	}
	_, err = fmt.Fprintf(env.Err, "Add this to the configuration of imctl, with the address of the NATS server. The secret is not shown again.\n\nnats:\n  url: nats://%s:%s@127.0.0.1:4222\n", name, secret)
	return err
}

// natsConfigHead is the comment of the mode file.
const natsConfigHead = `# Configuration of a NATS server, 2.12 or later, for imctl. JetStream must be enabled:
#
#   jetstream { store_dir: "/var/lib/nats" }
#
# NATS uses only the last of two blocks with the same name. If you already have a block accounts or
# authorization, use imctl nats config --mode merge. These settings detect a lost connection sooner:
#
#   ping_interval: 10s, ping_max: 2

`

// systemHint returns a comment with the user that the operator adds to the system account of the server.
func (r natsConfigRequest) systemHint(a embedded.Accounts) string {
	if !r.ownSystem {
		return ""
	}
	return fmt.Sprintf("# Add this user to the system account. Without it, imctl cannot close the connections of NATS clients:\n#\n#   {user: %q, password: %q}\n\n", a.System.Name, a.System.Hash)
}

// permissionsHint returns a comment with the permissions that are enough for the user of a bridge.
func permissionsHint(c NATSConfig) string {
	return fmt.Sprintf("# To restrict the user of imctl in account %s to nats.prefix %s, scheduled backups included, add to it:\n#\n#   %s\n\n",
		embedded.Account, c.Prefix, permissionsLine(c.Prefix, c.Domain, true))
}

// writeParts writes the contents of the two blocks to files, and prints the lines that include them, and a hint.
func (r natsConfigRequest) writeParts(env *Env, a embedded.Accounts, hint string) error {
	const accounts, authorization = "imctl-accounts.conf", "imctl-authorization.conf"
	for _, part := range []struct{ name, text string }{{accounts, a.AccountsText()}, {authorization, a.AuthorizationText()}} {
		if err := r.writeFile(env, part.name, part.text); err != nil {
			return err
		}
	}
	system := "system_account: SYS\n"
	if r.ownSystem {
		system = r.systemHint(a)
	}
	_, err := fmt.Fprintf(env.Out, `# Add these lines to the configuration of the NATS server: each include to the existing block, or with
# a new one. Copy the files next to it. JetStream must be enabled.

accounts {
  include %q
}
authorization {
  include %q
}
%s
%s`, accounts, authorization, system, hint)
	return err
}

// writeFile writes a file that only its owner can read.
func (r natsConfigRequest) writeFile(env *Env, name, text string) error {
	f, err := createPrivate(filepath.Join(env.path(r.dir), name), r.force)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	return f.Commit()
}

// natsAccounts returns the accounts of a NATS server for bridges that log in with this name and secret.
func natsAccounts(name, secret string, cost int) (embedded.Accounts, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), cost)
	if err != nil {
		return embedded.Accounts{}, fmt.Errorf("hash the secret: %w", err)
	}
	issuer, err := calloutIssuer(secret)
	if err != nil {
		return embedded.Accounts{}, err
	}
	public, err := issuer.PublicKey()
	if err != nil {
		return embedded.Accounts{}, fmt.Errorf("create the key of the auth callout: %w", err)
	}
	user := func(suffix string) embedded.AccountUser {
		return embedded.AccountUser{Name: name + suffix, Hash: string(hash)}
	}
	return embedded.Accounts{Bridge: user(""), Callout: user(calloutSuffix), System: user(systemSuffix), Issuer: public}, nil
}

// newSecret returns 128 random bits in hex digits.
func newSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
