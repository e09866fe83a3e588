package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"

	"imctl/embedded"
)

// calloutKeyFile is the name of the file with the signing key of the accounts.
const calloutKeyFile = "imctl-callout.nk"

// printOperator prints the nsc commands for a NATS server in operator mode. The signing key is that of nats.callout.key,
// or of the file in the directory, or new.
func (r natsConfigRequest) printOperator(env *Env, config *Config) error {
	c := config.NATS
	file := c.Callout.Key
	if file == "" {
		file = filepath.Join(env.path(r.dir), calloutKeyFile)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) || r.force {
			if err := r.newCalloutKey(env); err != nil {
				return err
			}
		}
	}
	issuer, xkey, err := readCalloutKey(file)
	if err != nil {
		return err
	}
	public, err := issuer.PublicKey()
	if err != nil {
		return fmt.Errorf("read the signing key of the accounts: %w", err)
	}
	publicX, err := xkey.PublicKey()
	if err != nil {
		return fmt.Errorf("read the signing key of the accounts: %w", err)
	}
	_, err = io.WriteString(env.Out, operatorScript(public, publicX, file, c))
	return err
}

// newCalloutKey writes a new signing key of the accounts.
func (r natsConfigRequest) newCalloutKey(env *Env) error {
	key, err := nkeys.CreateAccount()
	if err != nil {
		return fmt.Errorf("create the signing key of the accounts: %w", err)
	}
	seed, err := key.Seed()
	if err != nil {
		return fmt.Errorf("create the signing key of the accounts: %w", err)
	}
	return r.writeFile(env, calloutKeyFile, string(seed)+"\n")
}

// operatorScript returns the nsc commands that create the accounts of imctl, and the settings to add.
func operatorScript(issuer, xkey, keyFile string, c NATSConfig) string {
	var b strings.Builder
	b.WriteString(`#!/bin/sh
# Accounts and users of imctl for a NATS server in operator mode, version 2.12 or later. Run this where nsc has the
# operator, then copy the credentials files to imctl. The system account is SYS.
set -e
nsc add account --name IM
nsc edit account --name IM --js-mem-storage -1 --js-disk-storage -1 --js-streams -1 --js-consumer -1
nsc add account --name LOG
nsc add account --name AUTH
`)
	for _, account := range []string{"IM", "LOG", "AUTH"} {
		fmt.Fprintf(&b, "nsc edit account --name %s --sk %s\n", account, issuer)
	}
	fmt.Fprintf(&b, `nsc add user --account IM --name imctl
nsc add user --account AUTH --name imctl-auth
nsc add user --account SYS --name imctl-sys
im=$(nsc describe account --name IM --field sub | tr -d '"')
log=$(nsc describe account --name LOG --field sub | tr -d '"')
auth_user=$(nsc describe user --account AUTH --name imctl-auth --field sub | tr -d '"')

# NATS asks imctl about the clients that log in with the token of this user, or without one.
nsc add user --account AUTH --name imctl-clients --bearer --deny-pubsub '>'
nsc edit authcallout --account AUTH --auth-user "$auth_user" --allowed-account "$im" --allowed-account "$log" --curve %s

# Consumers of the log have an account of their own, with these requests only.
`, xkey)
	for i, s := range embedded.ConsumerServices(c.Domain) {
		response := "Singleton"
		if s.Stream {
			response = "Stream"
		}
		name := fmt.Sprintf("imctl-%d", i+1)
		fmt.Fprintf(&b, `nsc add export --account IM --name %[1]s --service --private --subject '%[2]s' --response-type %[3]s
nsc generate activation --account IM --target-account "$log" --subject '%[2]s' --output-file %[1]s.jwt
nsc add import --account LOG --name %[1]s --token %[1]s.jwt
rm %[1]s.jwt
`, name, s.Subject, response)
	}
	publish, subscribe := allowedSubjects(c.Prefix, c.Domain, true)
	fmt.Fprintf(&b, `
# To restrict the user of imctl to nats.prefix %s, scheduled backups included, run this line too:
# nsc edit user --account IM --name imctl --allow-pub '%s' --allow-sub '%s'
`, c.Prefix, strings.Join(publish, ","), strings.Join(subscribe, ","))
	fmt.Fprintf(&b, `
umask 077
nsc generate creds --account IM --name imctl > imctl.creds
nsc generate creds --account AUTH --name imctl-auth > imctl-auth.creds
nsc generate creds --account SYS --name imctl-sys > imctl-sys.creds
nsc push --all

cat <<END

Add this to the configuration of every NATS server, and restart it:

default_sentinel: "$(nsc describe user --account AUTH --name imctl-clients --raw | tr -d '\n')"
authorization { timeout: 10 }

Add this to the configuration of imctl:

nats:
  url: nats://127.0.0.1:4222
  creds: imctl.creds
  callout:
    creds: imctl-auth.creds
    system: imctl-sys.creds
    key: %s
    log_account: $log
END
`, keyFile)
	return b.String()
}
