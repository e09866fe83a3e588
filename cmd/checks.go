package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"imctl/bridge/mailer"
)

func notEmpty(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	return nil
}

func oneOf[T comparable](allowed ...T) func(T) error {
	return func(v T) error {
		if slices.Contains(allowed, v) {
			return nil
		}
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = fmt.Sprint(a)
		}
		if len(names) == 1 {
			return errors.New("can only be " + names[0])
		}
		last := len(names) - 1
		return errors.New("wants " + strings.Join(names[:last], ", ") + " or " + names[last])
	}
}

func between[T cmp.Ordered](low, high T) func(T) error {
	return func(v T) error {
		if v < low || v > high {
			return fmt.Errorf("must be from %s to %s", show(low), show(high))
		}
		return nil
	}
}

func show(v any) string {
	if d, ok := v.(time.Duration); ok {
		return formatDuration(d)
	}
	return fmt.Sprint(v)
}

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

// address checks host:port, where the host may be missing for all addresses of the machine.
func address(s string) error {
	if s == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("wants host:port, such as 127.0.0.1:8080")
	}
	if n, err := strconv.ParseUint(port, 10, 32); err != nil || n > 65535 {
		return errors.New("wants a port from 0 to 65535")
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isHostname(host) {
		return errors.New("wants an address or a host name before the port")
	}
	return nil
}

// isHostname takes the letters that a host name may have; whether it resolves shows when it is used.
func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !isWord(r) {
				return false
			}
		}
	}
	return true
}

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

func domain(s string) error {
	if _, err := netip.ParseAddr(s); err == nil || !isHostname(s) || !strings.Contains(s, ".") {
		return errors.New("wants a domain name, such as im.example.org")
	}
	return nil
}

func email(s string) error {
	if s == "" {
		return nil
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return errors.New("wants a mail address")
	}
	return nil
}

func httpURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return errors.New("wants a URL, such as https://acme.example.org/directory")
	}
	return nil
}

func origin(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || s != u.Scheme+"://"+u.Host {
		return errors.New("wants scheme and host alone, such as https://www.example.org")
	}
	return nil
}

func prefix(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if _, err := netip.ParsePrefix(s); err != nil {
		return errors.New("wants an address or a network, such as 10.0.0.0/8")
	}
	return nil
}

// natsURLs checks a list separated by commas. It never repeats the value, which may hold a password.
func natsURLs(s string) error {
	if s == "" {
		return nil
	}
	for item := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(strings.TrimSpace(item))
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return errors.New("wants a URL, such as nats://127.0.0.1:4222")
		}
	}
	return nil
}

// smtpURL never repeats the value, which may hold a password.
func smtpURL(s string) error {
	if s == "" {
		return nil
	}
	if _, err := mailer.New(s, "imctl@example.org"); err != nil {
		return errors.New("wants a URL, such as smtp://user:password@mail.example.org:587, or smtps for port 465")
	}
	return nil
}

func route(s string) error {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(s, "nats://"))
	if err != nil || host == "" || port == "0" || address(net.JoinHostPort(host, port)) != nil {
		return errors.New("wants host:port, such as 10.0.0.2:6222")
	}
	return nil
}

// token checks one word of a subject that is also part of stream and bucket names.
func token(s string) error {
	if s == "" || len(s) > 32 || strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) }) {
		return errors.New("wants one word of at most 32 letters, digits, - and _")
	}
	return nil
}

func optionalToken(s string) error {
	if s == "" {
		return nil
	}
	return token(s)
}

// conflict is a mistake that only shows when settings are seen together. It is told of one key.
type conflict struct{ key, text string }

// conflicts finds settings that cannot go together.
func (c *Config) conflicts() []conflict {
	return slices.Concat(c.tlsConflicts(), c.mailConflicts(), c.natsConflicts(), c.listenConflicts())
}

func (c *Config) tlsConflicts() (found []conflict) {
	tls := c.TLS
	switch {
	case tls.Cert != "" && tls.Key == "":
		found = append(found, conflict{"tls.cert", "needs tls.key too"})
	case tls.Cert == "" && tls.Key != "":
		found = append(found, conflict{"tls.key", "needs tls.cert too"})
	case tls.Mode == "files" && tls.Cert == "":
		found = append(found, conflict{"tls.mode", "files needs tls.cert and tls.key"})
	}
	if tls.Mode == "acme" && len(tls.Domains) == 0 {
		found = append(found, conflict{"tls.mode", "acme needs tls.domains"})
	}
	return found
}

func (c *Config) mailConflicts() []conflict {
	switch {
	case c.Mail.SMTP != "" && c.Mail.From == "":
		return []conflict{{"mail.smtp", "needs mail.from too"}}
	case c.Mail.SMTP == "" && c.Mail.From != "":
		return []conflict{{"mail.from", "needs mail.smtp too"}}
	}
	return nil
}

func (c *Config) natsConflicts() (found []conflict) {
	n := c.NATS
	add := func(key, text string) { found = append(found, conflict{key, text}) }
	if n.Context != "" && n.URL != "" {
		add("nats.context", "and nats.url are two servers: keep one of them")
	}
	if n.Creds != "" && n.URL == "" {
		add("nats.creds", "needs nats.url too")
	}
	if n.Cluster.Name == "" {
		if n.Cluster.Listen != "" || len(n.Cluster.Routes) > 0 || n.Cluster.Secret != "" {
			add("nats.cluster.name", "must not be empty when another setting of nats.cluster is set")
		}
		if n.Embedded() && n.Replicas > 1 {
			add("nats.replicas", "can only be 1 on a single server: more need nats.cluster or nats.url")
		}
		return found
	}
	if !n.Embedded() {
		add("nats.cluster.name", "is for embedded servers, and nats.url or nats.context names another: keep one of them")
	}
	if n.Cluster.Listen == "" {
		add("nats.cluster.name", "needs nats.cluster.listen too")
	}
	if len(n.Cluster.Routes) == 0 {
		add("nats.cluster.name", "needs nats.cluster.routes too")
	}
	if n.Cluster.Secret == "" {
		add("nats.cluster.name", "needs nats.cluster.secret too")
	}
	return found
}

// listenConflicts finds two listeners on one port.
func (c *Config) listenConflicts() (found []conflict) {
	listeners := []conflict{{"listen", c.Listen}, {"ops.listen", c.Ops.Listen}}
	if c.NATS.Embedded() {
		listeners = append(listeners, conflict{"nats.listen", c.NATS.Listen}, conflict{"nats.cluster.listen", c.NATS.Cluster.Listen})
	}
	for i, second := range listeners {
		for _, first := range listeners[:i] {
			if sameListener(first.text, second.text) {
				found = append(found, conflict{second.key, "is the address of " + first.key + " too"})
			}
		}
	}
	return found
}

func sameListener(a, b string) bool {
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
