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

// attachUser is the user of an attached bridge if the configuration does not name one.
const attachUser = "imctl"

func newNATSConfig(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration that a NATS server needs for imctl",
		Long: `Print the configuration that lets imctl attach to an existing NATS server, version 2.12 or later, instead
of running its own:

  imctl nats config > imctl.conf
  echo 'include "imctl.conf"' >> nats-server.conf

If nats.url has a user and password, the output is for that user. Otherwise it contains the hash of a new
secret. The secret itself is printed once, to standard error, with the setting for the configuration of
imctl.

If the configuration of the NATS server already has an accounts block, copy the accounts into it: NATS
uses only the last of two blocks with the same name. The NATS server then asks imctl which clients may log
in to the accounts IM and LOG. Users of other accounts log in as before.`,
		Example: "  imctl nats config > imctl.conf",
		Args:    maxArgs(0),
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
	text, err := natsConfigText(name, secret, c.Domain, cost)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(env.Out, text); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	_, err = fmt.Fprintf(env.Err, "Add this to the configuration of imctl, with the address of the NATS server. The secret is not shown again.\n\nnats:\n  url: nats://%s:%s@127.0.0.1:4222\n", name, secret)
	return err
}

// natsConfigText returns the configuration of a NATS server for bridges that log in with this name and secret.
func natsConfigText(name, secret, domain string, cost int) (string, error) {
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
		return "", fmt.Errorf("create the key of the auth callout: %w", err)
	}
	user := func(suffix string) embedded.AccountUser {
		return embedded.AccountUser{Name: name + suffix, Hash: string(hash)}
	}
	accounts := embedded.Accounts{Bridge: user(""), Callout: user(calloutSuffix), System: user(systemSuffix), Issuer: public, Domain: domain}
	return strings.TrimLeft(`
# Configuration of a NATS server, 2.12 or later, for imctl. JetStream must be enabled:
#
#   jetstream { store_dir: "/var/lib/nats" }
#
# NATS uses only the last of two blocks with the same name. If you already have an accounts block,
# copy these accounts into it. If you already have a system account, add the user of SYS to it, and
# leave out SYS and system_account. These settings detect a lost connection sooner:
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
