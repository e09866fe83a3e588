package cmd

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"imctl/bridge/natsauth"
	"imctl/bridge/natsutil"
)

// A NATS server in operator mode knows accounts and users by their public keys, and takes what it knows of them from
// signed tokens. One signing key, nats.callout.key, signs for the three accounts of imctl: the answers to the auth
// callout in the callout's account, and the clients in the account that they are admitted to.

// operatorCallout returns the options of the auth callout of a NATS server in operator mode.
func (b *backend) operatorCallout(c NATSConfig, log *slog.Logger) (*natsauth.CalloutOptions, error) {
	issuer, xkey, err := readCalloutKey(c.Callout.Key)
	if err != nil {
		return nil, err
	}
	account, err := credsAccount(c.Creds)
	if err != nil {
		return nil, err
	}
	callout, err := credsAccount(c.Callout.Creds)
	if err != nil {
		return nil, err
	}
	o := &natsauth.CalloutOptions{Connect: b.attachByCreds(c, c.Callout.Creds, log), Issuer: issuer, XKey: xkey, Account: callout,
		Access: natsauth.Access{Account: account, ConsumerAccount: c.Callout.LogAccount, Shared: true, URL: withoutUser(c.URL), CA: absolute(c.TLS.CA), Domain: c.Domain, ClientCert: c.TLS.Cert != ""}}
	if c.Callout.System != "" {
		o.System = b.watched(b.attachByCreds(c, c.Callout.System, log))
	}
	return o, nil
}

// attachByCreds returns a function that connects to an attached NATS with a credentials file.
func (b *backend) attachByCreds(c NATSConfig, creds string, log *slog.Logger) natsutil.Connect {
	return func(name string, opts ...nats.Option) (*nats.Conn, error) {
		return b.link.Connect(func(last nats.Option) (*nats.Conn, error) {
			encryption, err := c.TLS.options()
			if err != nil {
				return nil, err
			}
			return nats.Connect(withoutUser(c.URL), slices.Concat(persistentOptions(name, log), opts, encryption, []nats.Option{nats.UserCredentials(creds), last})...)
		})
	}
}

// readCalloutKey reads the signing key of the accounts, and derives from it the key that decrypts the requests of NATS.
//
// Errors: those of fs, and of a file without the seed of an account.
func readCalloutKey(file string) (issuer, xkey nkeys.KeyPair, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, usageErrorf("nats.callout.key: %w", err)
	}
	issuer, err = nkeys.FromSeed([]byte(strings.TrimSpace(string(text))))
	if err == nil {
		var public string
		if public, err = issuer.PublicKey(); err == nil && !nkeys.IsValidPublicAccountKey(public) {
			err = nkeys.ErrInvalidSeed
		}
	}
	if err != nil {
		return nil, nil, usageErrorf("nats.callout.key: %s must have the seed of an account's signing key, which begins with SA", file)
	}
	xkey, err = calloutXKey(issuer)
	return issuer, xkey, err
}

// calloutXKey derives the key that decrypts the requests of NATS, so that there is one secret to keep.
func calloutXKey(issuer nkeys.KeyPair) (nkeys.KeyPair, error) {
	seed, err := issuer.Seed()
	if err != nil {
		return nil, fmt.Errorf("derive the key of the auth callout: %w", err)
	}
	raw := sha256.Sum256(append([]byte("imctl auth callout xkey\x00"), seed...))
	var key nkeys.KeyPair
	curve, err := nkeys.EncodeSeed(nkeys.PrefixByteCurve, raw[:])
	if err == nil {
		key, err = nkeys.FromCurveSeed(curve) // FromRawSeed returns a key that only signs
	}
	if err != nil {
		return nil, fmt.Errorf("derive the key of the auth callout: %w", err)
	}
	return key, nil
}

// credsAccount returns the public key of the account of a credentials file.
func credsAccount(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", usageErrorf("%w", err)
	}
	token, err := nkeys.ParseDecoratedJWT(text)
	if err == nil {
		var user *jwt.UserClaims
		if user, err = jwt.DecodeUserClaims(token); err == nil {
			if user.IssuerAccount != "" {
				return user.IssuerAccount, nil
			}
			return user.Issuer, nil
		}
	}
	return "", usageErrorf("%s is not a credentials file of a user: %w", file, err)
}
