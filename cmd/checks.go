package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"imctl/bridge/mailer"
	"imctl/embedded"
)

// expect returns an error with the text if ok is false.
func expect(ok bool, text string) error {
	if ok {
		return nil
	}
	return errors.New(text)
}

func notEmpty(s string) error { return expect(s != "", "must not be empty") }

// orEmpty returns check for a setting that may be empty.
func orEmpty(check func(string) error) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return check(s)
	}
}

// orZero returns check for a setting that may be 0.
func orZero[T comparable](check func(T) error) func(T) error {
	return func(v T) error {
		var zero T
		if v == zero {
			return nil
		}
		return check(v)
	}
}

// each returns check for a list.
func each(check func(string) error) func([]string) error {
	return func(list []string) error {
		for i, item := range list {
			if err := check(item); err != nil {
				return fmt.Errorf("item %d: %w", i+1, err)
			}
		}
		return nil
	}
}

func oneOf[T comparable](allowed ...T) func(T) error {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = fmt.Sprint(a)
	}
	last := len(names) - 1
	text := names[last]
	if last > 0 {
		text = strings.Join(names[:last], ", ") + " or " + text
	}
	return func(v T) error { return expect(slices.Contains(allowed, v), "must be "+text) }
}

func between[T cmp.Ordered](low, high T) func(T) error {
	return func(v T) error {
		return expect(low <= v && v <= high, fmt.Sprintf("must be from %s to %s", show(low), show(high)))
	}
}

func show(v any) string {
	if d, ok := v.(time.Duration); ok {
		return formatDuration(d)
	}
	return fmt.Sprint(v)
}

// address checks host:port. An empty host means all addresses of the machine.
func address(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("must be host:port, such as 127.0.0.1:8080")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("must be a port from 0 to 65535")
	}
	return expect(host == "" || isIP(host) || isHostname(host), "must be an address or a host name before the port")
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isHostname checks the letters of a host name. Whether it resolves shows when it is used.
func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if len(label) > 63 || !isToken(label) || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// isToken reports whether s is one or more letters, digits, - and _.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

func hostName(s string) error {
	return expect(isHostname(s), "must be a host name without a port, such as im.example.org")
}

func domain(s string) error {
	return expect(!isIP(s) && isHostname(s) && strings.Contains(s, "."), "must be a domain name, such as im.example.org")
}

func email(s string) error {
	a, err := mail.ParseAddress(s)
	return expect(err == nil && a.Address == s, "must be a mail address")
}

// parseURL parses s. ok is false if s is not a URL with a host and one of the schemes.
func parseURL(s string, schemes ...string) (u *url.URL, ok bool) {
	u, err := url.Parse(s)
	return u, err == nil && u.Hostname() != "" && slices.Contains(schemes, u.Scheme)
}

func httpURL(s string) error {
	u, ok := parseURL(s, "https", "http")
	return expect(ok && u.User == nil, "must be a URL, such as https://acme.example.org/directory")
}

// baseURL checks a URL below which the server is: scheme, host, and the path of a proxy.
func baseURL(s string) error {
	u, ok := parseURL(s, "https", "http")
	ok = ok && u.User == nil && u.RawQuery == "" && !u.ForceQuery && !strings.Contains(s, "#")
	return expect(ok, "must be a URL without a query, such as https://www.example.org or https://www.example.org/chat/")
}

func prefix(s string) error {
	_, err := netip.ParsePrefix(s)
	return expect(err == nil || isIP(s), "must be an address or a network, such as 10.0.0.0/8")
}

// natsURLs checks a list separated by commas. Its error never repeats the value, which may hold a password.
func natsURLs(s string) error {
	for item := range strings.SplitSeq(s, ",") {
		if _, ok := parseURL(strings.TrimSpace(item), "nats", "tls", "ws", "wss"); !ok {
			return errors.New("must be a URL, such as nats://127.0.0.1:4222")
		}
	}
	return nil
}

// smtpURL never repeats the value in its error, since the value may hold a password.
func smtpURL(s string) error {
	_, err := mailer.New(s, "imctl@example.org")
	return expect(err == nil, "must be a URL, such as smtp://user:password@mail.example.org:587, or smtps for port 465")
}

// pushSubject checks the contact that push services are told (RFC 8292).
func pushSubject(s string) error {
	address, isMail := strings.CutPrefix(s, "mailto:")
	if !isMail {
		_, ok := parseURL(s, "https")
		return expect(ok, "must be a URL, such as mailto:admin@example.org or https://example.org")
	}
	return expect(email(address) == nil, "must be a URL, such as mailto:admin@example.org or https://example.org")
}

func route(s string) error {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(s, "nats://"))
	ok := err == nil && host != "" && port != "0" && address(net.JoinHostPort(host, port)) == nil
	return expect(ok, "must be host:port, such as 10.0.0.2:6222")
}

// clusterSecret checks the length of a secret. Its error never repeats the value.
func clusterSecret(s Secret) error {
	return expect(s == "" || len(s) >= embedded.MinSecret, fmt.Sprintf("must have at least %d characters: make one with imctl cluster secret", embedded.MinSecret))
}

// subjectToken checks one token of a subject that is also part of stream and bucket names.
func subjectToken(s string) error {
	return expect(isToken(s) && len(s) <= 32, "must be one word of at most 32 letters, digits, - and _")
}

func accountKey(s string) error {
	return expect(nkeys.IsValidPublicAccountKey(s), "must be the public key of an account, which begins with A")
}

// conflict is a mistake in the combination of settings. It is reported for one key.
type conflict struct{ key, text string }

// conflicts returns the settings that cannot be combined.
func (c *Config) conflicts() []conflict {
	var (
		tls, smtp, nats = c.TLS, c.Mail, c.NATS
		callout         = nats.Callout
		clustered       = nats.Cluster.Name != ""
		found           []conflict
	)
	for _, rule := range []struct {
		broken    bool
		key, text string
	}{
		{tls.Cert != "" && tls.Key == "", "tls.cert", "requires tls.key"},
		{tls.Cert == "" && tls.Key != "", "tls.key", "requires tls.cert"},
		{tls.Mode == "files" && tls.Cert == "" && tls.Key == "", "tls.mode", "files requires tls.cert and tls.key"},
		{tls.Mode == "acme" && len(tls.Domains) == 0, "tls.mode", "acme requires tls.domains"},
		{tls.Mode == "acme" && strings.HasPrefix(c.Listen, unixPrefix), "tls.mode", "acme requires an address of host:port in listen, to which the authority connects"},

		{smtp.SMTP != "" && smtp.From == "", "mail.smtp", "requires mail.from"},
		{smtp.SMTP == "" && smtp.From != "", "mail.from", "requires mail.smtp"},

		{c.Backup.Dir != "" && isWithin(c.Data, c.Backup.Dir), "backup.dir", "must not be the data directory or below it: a restore replaces that, and what destroys it " +
			"would destroy the backups"},

		{c.Hooks.Timeout != defaultHookTimeout && c.Hooks.Timeout > c.Dialogues.Timeout/2, "hooks.timeout", "must not exceed half of dialogues.timeout"},
		{c.Passwords.MinLength > c.Passwords.MaxLength, "passwords.min_length", "must not exceed passwords.max_length"},

		{nats.Context != "" && nats.URL != "", "nats.context", "cannot be combined with nats.url: keep one of them"},
		{nats.Creds != "" && nats.URL == "", "nats.creds", "requires nats.url"},
		{nats.Domain != "" && nats.Embedded(), "nats.domain", "requires nats.url or nats.context: the embedded server has no other domain"},
		{nats.TLS != NATSTLSConfig{} && nats.Embedded(), nats.TLS.firstKey(), "requires nats.url: the embedded server has the certificate of tls"},
		{nats.TLS != NATSTLSConfig{} && nats.Context != "", nats.TLS.firstKey(),
			"cannot be combined with nats.context: set ca, cert and key in the context"},
		{nats.TLS.Cert != "" && nats.TLS.Key == "", "nats.tls.cert", "requires nats.tls.key"},
		{nats.TLS.Cert == "" && nats.TLS.Key != "", "nats.tls.key", "requires nats.tls.cert"},

		{!clustered && nats.Embedded() && nats.Replicas > 1,
			"nats.replicas", "must be 0 or 1 on a single server: more replicas require nats.cluster or nats.url"},
		{nats.Monitor != "" && !nats.Embedded(), "nats.monitor", "cannot be combined with nats.url or nats.context: only the embedded server has it"},
		{callout != CalloutConfig{} && (callout.Key == "" || callout.Creds == ""), "nats.callout.key", "must be set together with nats.callout.creds"},
		{callout != CalloutConfig{} && nats.Creds == "", "nats.callout.key", "requires nats.url and nats.creds"},
	} {
		if rule.broken {
			found = append(found, conflict{rule.key, rule.text})
		}
	}
	return slices.Concat(found, c.clusterConflicts(), c.listenConflicts(), c.authConflicts(), c.oidcConflicts())
}

// isWithin reports whether a path is that of a directory or below it. Both are absolute.
func isWithin(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// listener is the setting of a listener and its address.
type listener struct{ key, address string }

// listeners returns the listeners for clients: people, operators, and programs on NATS.
func (c *Config) listeners() []listener {
	all := []listener{{"listen", c.frontAddress()}}
	if address := c.opsAddress(); address != "" {
		all = append(all, listener{"ops.listen", address})
	}
	if c.NATS.Embedded() && c.NATS.Listen != "" {
		all = append(all, listener{"nats.listen", c.NATS.Listen})
	}
	if c.NATS.Embedded() && c.NATS.Monitor != "" {
		all = append(all, listener{"nats.monitor", c.NATS.Monitor})
	}
	return all
}

// listenConflicts returns the listeners that share an address and port.
func (c *Config) listenConflicts() (found []conflict) {
	listeners := c.listeners()
	if c.NATS.Embedded() {
		listeners = append(listeners, listener{"nats.cluster.listen", c.NATS.Cluster.Listen})
	}
	for i, second := range listeners {
		for _, first := range listeners[:i] {
			if sameListener(first.address, second.address) {
				found = append(found, conflict{second.key, "is the same address as " + first.key})
			}
		}
	}
	return found
}

func sameListener(a, b string) bool {
	if strings.HasPrefix(a, unixPrefix) {
		return a == b
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isUnspecified(hostA) || isUnspecified(hostB)
}

func isUnspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
