package cmd

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/synadia-io/orbit.go/natscontext"

	"imctl/bridge/certs"
	"imctl/bridge/natsauth"
	"imctl/bridge/natsutil"
	"imctl/embedded"
)

// An attached NATS server has three users for imctl, with the same password: the user of the bridge, which nats.url or
// the context names, and two users whose names are that name with a suffix.
const (
	calloutSuffix = "-auth" // answers the auth callout for NATS clients that log in
	systemSuffix  = "-sys"  // closes connections of NATS clients
)

// calloutIssuer returns the key that signs the answers to the auth callout of an attached NATS server. It is derived
// from the password of the bridges, so that all bridges have the same key without sharing a file.
func calloutIssuer(password string) (nkeys.KeyPair, error) {
	seed := sha256.Sum256([]byte("imctl auth callout issuer\x00" + password))
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteAccount, seed[:])
	if err != nil {
		return nil, fmt.Errorf("create the key of the auth callout: %w", err)
	}
	return key, nil
}

// access returns the accounts, reserved user names and URL for NATS clients.
func (b *backend) access(c *Config) natsauth.Access {
	a := natsauth.Access{Account: embedded.Account, ConsumerAccount: embedded.ConsumerAccount}
	if b.server != nil {
		a.Reserved, a.URL, a.CA = embedded.StaticUsers(), b.server.URL(), b.ca
		if a.URL == "" && c.NATS.Listen != "" { // the server of a command has no listener
			a.URL = "nats://" + c.NATS.Listen
			if certs.Encrypted(c.TLS.Mode, c.NATS.Listen) {
				a.URL, a.CA = "tls://"+c.NATS.Listen, certs.OwnFile(b.dir.Path("tls"))
			}
		}
		return a
	}
	a.Shared = true
	s := attachedSettings(c.NATS)
	user, servers, ok := s.user()
	a.URL, a.CA, a.Domain, a.ClientCert = withoutUser(servers), absolute(s.CA), s.JSDomain, s.Cert != ""
	if ok {
		a.Reserved = []string{user.Username(), user.Username() + calloutSuffix, user.Username() + systemSuffix}
	}
	return a
}

// callout returns the options of the auth callout. If the attached NATS server is not configured for it, callout logs
// the reason, and returns nil and the access with the reason.
func (b *backend) callout(c *Config, log *slog.Logger) (*natsauth.CalloutOptions, natsauth.Access, error) {
	if s := b.server; s != nil {
		a := b.access(c)
		return &natsauth.CalloutOptions{Connect: s.Callout, System: s.System, Issuer: s.Issuer(), Access: a, Limits: clientLimits(c), PutOff: s.PutOff,
			Subscriptions: s.Subscriptions, Clients: s.Clients, Connections: s.Connections}, a, nil
	}
	o, reason, err := b.attachedCallout(c, log)
	if err != nil {
		return nil, natsauth.Access{}, err
	}
	if reason != "" {
		log.Warn("NATS clients cannot log in with accounts or attachments: " + reason)
		a := b.access(c)
		a.NoClients = reason
		if _, _, ok := attachedSettings(c.NATS).user(); ok { // perhaps an attachment: other nodes may answer the callout
			a.Try, a.Ask = b.tryAttachment(c.NATS), b.askAsAttachment(c.NATS)
		}
		return nil, a, nil
	}
	o.Limits, o.Access.Try, o.Access.Ask = clientLimits(c), b.tryAttachment(c.NATS), b.askAsAttachment(c.NATS)
	return o, o.Access, nil
}

// attachedCallout returns the options of the auth callout of an attached NATS server, or the reason why there is none.
func (b *backend) attachedCallout(c *Config, log *slog.Logger) (o *natsauth.CalloutOptions, reason string, err error) {
	answers, closes := "of nats.callout.creds", "of nats.callout.system"
	if c.NATS.Callout.Key != "" {
		if o, err = b.operatorCallout(c.NATS, log); err != nil {
			return nil, "", err
		}
	} else {
		user, _, ok := attachedSettings(c.NATS).user()
		if !ok {
			return nil, "nats.url or the context has no user and password; for a NATS server in operator mode set nats.callout, see imctl nats config --mode operator", nil
		}
		password, _ := user.Password()
		issuer, err := calloutIssuer(password)
		if err != nil {
			return nil, "", err
		}
		answers, closes = user.Username()+calloutSuffix, user.Username()+systemSuffix
		o = &natsauth.CalloutOptions{Connect: b.attachAs(c.NATS, answers, password, log), System: b.watched(b.attachAs(c.NATS, closes, password, log)), Issuer: issuer, Access: b.access(c)}
	}
	for _, login := range []struct {
		user    string
		connect natsutil.Connect
	}{{answers, o.Connect}, {closes, o.System}} {
		if login.connect == nil {
			continue
		}
		nc, err := login.connect("imctl attaching", nats.NoReconnect())
		if err != nil {
			return nil, fmt.Sprintf("the user %s cannot log in (%v): add the output of imctl nats config to the configuration of the NATS server", login.user, err), nil
		}
		nc.Close()
	}
	return o, "", nil
}

// tryAttachment returns a function that logs in as a NATS client.
func (b *backend) tryAttachment(c NATSConfig) func(user, password string) error {
	return func(user, password string) error {
		nc, err := b.attachAs(c, user, password, slog.New(slog.DiscardHandler))("imctl trying an attachment", nats.NoReconnect(), nats.Timeout(attachTimeout))
		if err == nil {
			nc.Close()
			return nil
		}
		if isRefused(err) {
			return fmt.Errorf("%w: %s refuses the credentials", natsauth.ErrNoClients, serverName(c))
		}
		return err
	}
}

// askAsAttachment returns a function that makes a request as a NATS client.
func (b *backend) askAsAttachment(c NATSConfig) func(user, password, inbox, subject, body string) error {
	return func(user, password, inbox, subject, body string) error {
		nc, err := b.attachAs(c, user, password, slog.New(slog.DiscardHandler))("imctl trying the calls of an attachment", nats.NoReconnect(), nats.Timeout(attachTimeout), nats.CustomInboxPrefix(inbox))
		if err != nil {
			return err
		}
		defer nc.Close()
		_, err = nc.Request(subject, []byte(body), attachTimeout)
		return err
	}
}

// clientLimits returns the limits of NATS clients. Twice as many bytes may wait for a user's NATS client as
// for its session.
func clientLimits(c *Config) natsauth.ClientLimits {
	pending := max(int(c.Sessions.MaxFrame)*c.Sessions.Buffer*2, natsauth.DefaultPending)
	return natsauth.ClientLimits{Connections: c.NATS.ConnectionsPerUser, Subscriptions: natsauth.DefaultSubscriptions,
		Pending: min(pending, int(maxPending(c)))}
}

// natsSettings are what the configuration has for an attached NATS, in the form of a context.
type natsSettings struct{ natscontext.Settings }

// attachedSettings returns the settings for an attached NATS.
func attachedSettings(c NATSConfig) natsSettings {
	if c.Context == "" {
		return natsSettings{natscontext.Settings{URL: c.URL, CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key, JSDomain: c.Domain}}
	}
	// The library reads a context only when it connects.
	nc, settings, err := dialContext(c.Context, nats.NoReconnect())
	if err == nil {
		nc.Close()
	}
	settings.URL = withoutUser(settings.URL)
	settings.JSDomain = cmp.Or(c.Domain, settings.JSDomain)
	return natsSettings{settings}
}

// user returns the user and the server URLs. ok reports whether the user has a name and a password.
func (s natsSettings) user() (user *url.Userinfo, servers string, ok bool) {
	if s.User != "" {
		return url.UserPassword(s.User, s.Password), s.URL, s.Password != ""
	}
	for _, server := range strings.Split(s.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.User == nil {
			continue
		}
		if _, ok := u.User.Password(); ok && u.User.Username() != "" {
			return u.User, s.URL, true
		}
	}
	return nil, s.URL, false
}

// absolute returns a path that does not depend on the working directory. A path in the home directory stays as it is.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil && path != "" && !strings.HasPrefix(path, "~") {
		return abs
	}
	return path
}

// attachAs returns a function that connects to an attached NATS as this user instead of the configured one.
func (b *backend) attachAs(c NATSConfig, user, password string, log *slog.Logger) natsutil.Connect {
	return func(name string, opts ...nats.Option) (*nats.Conn, error) {
		return b.link.Connect(func(last nats.Option) (*nats.Conn, error) {
			all := slices.Concat(persistentOptions(name, log), opts, []nats.Option{nats.UserInfo(user, password), last})
			if c.Context != "" {
				nc, _, err := dialContext(c.Context, all...)
				return nc, err
			}
			encryption, err := c.TLS.options()
			if err != nil {
				return nil, err
			}
			return nats.Connect(withoutUser(c.URL), append(all, encryption...)...)
		})
	}
}

// watched returns connect for the system account, whose connections learn early that their server shuts down.
func (b *backend) watched(connect natsutil.Connect) natsutil.Connect {
	return func(name string, opts ...nats.Option) (*nats.Conn, error) {
		nc, err := connect(name, opts...)
		if err != nil || !nc.Opts.AllowReconnect {
			return nc, err
		}
		if err := b.link.WatchShutdown(nc); err != nil {
			nc.Close()
			return nil, err
		}
		return nc, nil
	}
}

// withoutUser removes users and passwords from the URLs of NATS servers.
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
