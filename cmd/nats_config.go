package cmd

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"

	"imctl/embedded"
)

// attachUser is the user of bridges that attach to a NATS, where the configuration names no other.
const attachUser = "imctl"

func newNATSConfig(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Print what a NATS server's configuration needs for imctl to attach",
		Long: `Print what the configuration of a NATS server needs, version 2.12 or later, for imctl to attach to it
instead of running its own:

  imctl nats config > imctl.conf
  echo 'include "imctl.conf"' >> nats-server.conf

The output holds a new secret as a hash. The secret itself is shown once, on standard error, in the
line that belongs into imctl's own configuration. Where nats.url names a user and password
already, the output is for those.

NATS takes the last of two blocks of one name: where the configuration has accounts already, copy
these into its block. NATS then asks imctl who may log in to the accounts IM and LOG. Users
of other accounts log in as before.`,
		Example: "  imctl nats config > imctl.conf",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			return printNATSConfig(env, config.NATS)
		},
	}
	addSettingFlags(c.Flags(), "nats.url")
	return c
}

func printNATSConfig(env *Env, c NATSConfig) error {
	// The cost of a hash is for secrets that a person chose; random ones nobody guesses, and each login pays for it.
	name, secret, cost, fresh := attachUser, "", bcrypt.DefaultCost, true
	if c.Context == "" {
		if user, _, ok := attachedUser(c); ok {
			name, fresh = user.Username(), false
			secret, _ = user.Password()
		}
	}
	if fresh {
		secret, cost = newSecret(), bcrypt.MinCost
	}
	text, err := natsConfigText(name, secret, cost)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(env.Out, text); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	_, err = fmt.Fprintf(env.Err, "For imctl's own configuration, with the server's address; the secret is not shown again:\n\nnats:\n  url: nats://%s:%s@127.0.0.1:4222\n", name, secret)
	return err
}

// natsConfigText is what a NATS server's configuration needs for bridges that log in with that name and secret.
func natsConfigText(name, secret string, cost int) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), cost)
	if err != nil {
		return "", fmt.Errorf("hash the secret: %w", err)
	}
	issuer, err := calloutIssuer(secret)
	if err != nil {
		return "", err
	}
	public, err := issuer.PublicKey()
	if err != nil {
		return "", fmt.Errorf("make the callout's key: %w", err)
	}
	user := func(suffix string) embedded.AccountUser {
		return embedded.AccountUser{Name: name + suffix, Hash: string(hash)}
	}
	accounts := embedded.Accounts{Bridge: user(""), Callout: user(calloutSuffix), System: user(systemSuffix), Issuer: public}
	return strings.TrimLeft(`
# What imctl needs of a NATS server, 2.12 or later. JetStream has to be on:
#
#   jetstream { store_dir: "/var/lib/nats" }
#
# NATS takes the last of two blocks of one name: where there are accounts already, copy these into
# their block. A server that has a system account keeps it: put the user of SYS there and leave
# out SYS and system_account. These make a peer that vanished without a word be missed sooner:
#
#   ping_interval: 10s, ping_max: 2

`, "\n") + accounts.Text(), nil
}

// newSecret returns 128 random bits in hex digits.
func newSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
