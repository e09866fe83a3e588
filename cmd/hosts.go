package cmd

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"imctl/bridge/answer"
	"imctl/bridge/governor"
	"imctl/bridge/wire"
)

// hosts are the host names under which a server on a loopback address may be called. A browser resolves the name of a
// page of its own choice, and that name may become a loopback address after the page was loaded (DNS rebinding). Such a
// page would pass for one of the server's own. Its requests still carry its own host name, so they are refused.
type hosts struct {
	current atomic.Pointer[hostRules]
	refused func(name string) // notes a refused name
}

type hostRules struct {
	names   []string // in lower case, besides the loopback names
	proxies []netip.Prefix
}

func newHosts(c *Config, refused func(name string)) *hosts {
	h := &hosts{refused: refused}
	h.set(c)
	return h
}

// set changes the names.
func (h *hosts) set(c *Config) {
	r := &hostRules{proxies: prefixes(c.HTTP.TrustedProxies)}
	for _, name := range slices.Concat(c.HTTP.Hosts, c.TLS.Domains) {
		r.names = append(r.names, strings.ToLower(name))
	}
	h.current.Store(r)
}

// guard returns a handler for a listener at addr that refuses requests for other hosts with the status 421.
func (h *hosts) guard(addr net.Addr, next http.Handler) http.Handler {
	if a, err := netip.ParseAddrPort(addr.String()); err != nil || !a.Addr().Unmap().IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.current.Load().allow(r) {
			h.refused(hostOf(r.Host))
			if r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/im/www/") { // a person reads it
				http.Error(w, "This server is not configured for this host name: see http.hosts and http.trusted_proxies in config.yaml.", http.StatusMisdirectedRequest)
				return
			}
			answer.WriteCode(w, http.StatusMisdirectedRequest, wire.ProtocolError)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (r *hostRules) allow(req *http.Request) bool {
	name := strings.ToLower(hostOf(req.Host))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(r.names, name) {
		return true
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Unmap().IsLoopback() {
		return true
	}
	return governor.Trusted(req.RemoteAddr, r.proxies)
}

// hostOf returns a host without its port, and an IPv6 address without its brackets.
func hostOf(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = hostPort
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
