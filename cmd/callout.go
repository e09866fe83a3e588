package cmd

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"imctl/bridge/natsauth"
	"imctl/embedded"
)

// An attached NATS knows three users of ours, with one password: the bridge's, who is in nats.url or the context, and
// two more whose names are made of that one's.
const (
	calloutSuffix = "-auth" // who answers for NATS clients that log in
	systemSuffix  = "-sys"  // who closes their connections
)

// calloutIssuer is the key that signs who may log in to an attached NATS. It is made of the password that the bridges of
// that NATS share, so that they agree on it without a file that goes from one to the other.
func calloutIssuer(password string) (nkeys.KeyPair, error) {
	seed := sha256.Sum256([]byte("imctl auth callout issuer\x00" + password))
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteAccount, seed[:])
	if err != nil {
		return nil, fmt.Errorf("make the callout's key: %w", err)
	}
	return key, nil
}

// access is what NATS clients find.
func (b *backend) access(c *Config) natsauth.Access {
	a := natsauth.Access{Account: embedded.Account, ConsumerAccount: embedded.ConsumerAccount}
	if b.server != nil {
		a.Reserved, a.URL = embedded.StaticUsers(), b.server.URL()
		if a.URL == "" && c.NATS.Listen != "" {
			a.URL = "nats://" + c.NATS.Listen // a command has the server to itself, and opens no door
		}
		return a
	}
	user, servers, ok := attachedUser(c.NATS)
	a.URL = withoutUser(servers)
	if ok {
		a.Reserved = []string{user.Username(), user.Username() + calloutSuffix, user.Username() + systemSuffix}
	}
	return a
}

// callout is how the bridge lets NATS clients in, or nil where it can't: then it says why, once.
func (b *backend) callout(c *Config, log *slog.Logger) (*natsauth.CalloutOptions, error) {
	if s := b.server; s != nil {
		return &natsauth.CalloutOptions{Connect: s.Callout, System: s.System, Issuer: s.Issuer(), Access: b.access(c)}, nil
	}
	const without = "NATS clients cannot log in by account or attachment"
	user, _, ok := attachedUser(c.NATS)
	if !ok {
		log.Warn(without + ": nats.url names no user with a password")
		return nil, nil
	}
	password, _ := user.Password()
	issuer, err := calloutIssuer(password)
	if err != nil {
		return nil, err
	}
	o := &natsauth.CalloutOptions{Connect: attachAs(c.NATS, user.Username()+calloutSuffix, password, log),
		System: attachAs(c.NATS, user.Username()+systemSuffix, password, log), Issuer: issuer, Access: b.access(c)}
	for _, who := range []struct {
		suffix  string
		connect func(string, ...nats.Option) (*nats.Conn, error)
	}{{calloutSuffix, o.Connect}, {systemSuffix, o.System}} {
		nc, err := who.connect("imctl attaching", nats.NoReconnect())
		if err != nil {
			log.Warn(without+": add what imctl nats config prints to the server's configuration", "user", user.Username()+who.suffix, "err", err)
			return nil, nil
		}
		nc.Close()
	}
	return o, nil
}

// attachedUser is the user that the configuration names for an attached NATS, if it names one with a password, and the
// URLs of its servers.
func attachedUser(c NATSConfig) (user *url.Userinfo, servers string, ok bool) {
	if c.Context != "" {
		// The library reads a context only on the way to a connection.
		nc, settings, err := dialContext(c.Context, nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		return url.UserPassword(settings.User, settings.Password), settings.URL, settings.User != "" && settings.Password != ""
	}
	for _, server := range strings.Split(c.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.User == nil {
			continue
		}
		if _, ok := u.User.Password(); ok && u.User.Username() != "" {
			return u.User, c.URL, true
		}
	}
	return nil, c.URL, false
}

// attachAs connects to an attached NATS as another user than the configuration names.
func attachAs(c NATSConfig, user, password string, log *slog.Logger) func(string, ...nats.Option) (*nats.Conn, error) {
	return func(name string, opts ...nats.Option) (*nats.Conn, error) {
		all := slices.Concat(lasting(name, log), opts, []nats.Option{nats.UserInfo(user, password)})
		if c.Context != "" {
			nc, _, err := dialContext(c.Context, all...)
			return nc, err
		}
		return nats.Connect(withoutUser(c.URL), all...)
	}
}

// withoutUser takes users and passwords out of the URLs of NATS servers.
func withoutUser(servers string) string {
	list := strings.Split(servers, ",")
	for i, server := range list {
		if u, err := url.Parse(strings.TrimSpace(server)); err == nil {
			u.User = nil
			list[i] = u.String()
		}
	}
	return strings.Join(list, ",")
}
