// Package origin decides which web pages may call the server: those of the server's own origin, and those that the
// configuration lists. It warns of each page, and each proxy, that is refused.
package origin

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// site is an origin: the scheme and the host in lower case, and the port, which is "" for a scheme without a default
// port if the origin names none.
type site struct{ scheme, host, port string }

// defaultPorts are those that browsers leave out of an origin.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parse parses an origin as browsers send it. It refuses "null", which pages without an origin send.
func parse(text string) (s site, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || !strings.EqualFold(text, u.Scheme+"://"+u.Host) {
		return site{}, false
	}
	s = site{scheme: strings.ToLower(u.Scheme)}
	s.host, s.port = splitHost(u.Host)
	if s.port == "" {
		s.port = defaultPorts[s.scheme]
	}
	return s, s.host != "" && validPort(s.port)
}

func validPort(port string) bool { return len(port) <= 5 && strings.Trim(port, "0123456789") == "" }

// splitHost splits host[:port]. It returns the host in lower case, without a trailing dot, and an IPv6 address without
// brackets in its shortest form.
func splitHost(hostPort string) (host, port string) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(hostPort, "["), "]"), ""
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	}
	return host, port
}

// Host returns the host of host[:port] in the form that names are compared in: lower case, without a trailing dot, and
// an IPv6 address without brackets in its shortest form.
func Host(hostPort string) string {
	host, _ := splitHost(hostPort)
	return host
}

// pattern is an origin of the configuration. wildcard is true if one more label precedes the host.
type pattern struct {
	site
	wildcard bool
}

func (p pattern) matches(s site) bool {
	if p.scheme != s.scheme || p.port != s.port {
		return false
	}
	if !p.wildcard {
		return p.host == s.host
	}
	label, rest, _ := strings.Cut(s.host, ".")
	return label != "" && rest == p.host
}

// noPages are schemes that no page has as its origin.
var noPages = []string{"ws", "wss", "file", "data", "blob", "about", "javascript", "null"}

// Check returns what is wrong with an origin of the configuration: scheme://host[:port], where a first label of "*"
// stands for one label.
func Check(text string) error {
	_, err := parsePattern(text)
	return err
}

func parsePattern(text string) (p pattern, err error) {
	if scheme, _, _ := strings.Cut(strings.ToLower(text), ":"); slices.Contains(noPages, scheme) || text == "*" {
		return p, errors.New("must be one page's origin, such as https://www.example.org: no page has this one")
	}
	before, after, wildcard := strings.Cut(text, "://*.")
	if wildcard {
		text, p.wildcard = before+"://"+after, true
	}
	var ok bool
	if p.site, ok = parse(text); !ok || strings.ContainsAny(p.host, "*,@") {
		return p, errors.New("must be scheme and host alone, such as https://www.example.org, https://*.example.org or capacitor://localhost")
	}
	if _, err := netip.ParseAddr(p.host); wildcard && (err == nil || !strings.Contains(p.host, ".")) {
		return p, errors.New("must name a domain of at least two labels after *, such as https://*.example.org")
	}
	return p, nil
}
