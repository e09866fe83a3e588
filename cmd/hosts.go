package cmd

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"imctl/bridge/answer"
	"imctl/bridge/governor"
	"imctl/bridge/origin"
	"imctl/bridge/wire"
)

// hosts are the host names under which a server on a loopback address may be called. A browser resolves the name of a
// page of its own choice, and that name may become a loopback address after the page was loaded (DNS rebinding). Such a
// page would pass for one of the server's own. Its requests still carry its own host name, so they are refused.
type hosts struct {
	current atomic.Pointer[hostRules]
	refused func(name string) // notes a refused name
	log     *slog.Logger
	logged  origin.Once
}

type hostRules struct {
	names   []string // in lower case, besides the loopback names
	proxies []netip.Prefix
}

func newHosts(c *Config, refused func(name string), log *slog.Logger) *hosts {
	h := &hosts{refused: refused, log: log}
	h.set(c)
	return h
}

// set changes the names.
func (h *hosts) set(c *Config) {
	r := &hostRules{proxies: prefixes(c.HTTP.TrustedProxies)}
	for _, name := range slices.Concat(c.HTTP.Hosts, c.TLS.Domains) {
		r.names = append(r.names, origin.Host(name))
	}
	if u, ok := parseURL(c.HTTP.URL, "https", "http"); ok {
		r.names = append(r.names, origin.Host(u.Host))
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
			name := origin.Host(r.Host)
			h.refused(name)
			if h.logged.First(origin.Shown(name)) {
				h.log.Warn("a request for an unknown host name is refused: if clients use this name, add it to http.hosts, and if a proxy passes the request on, "+
					"add its address to http.trusted_proxies", "host", origin.Shown(name), "peer", governor.ClientKey(&http.Request{RemoteAddr: r.RemoteAddr}, nil))
			}
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
	name := origin.Host(req.Host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(r.names, name) {
		return true
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Unmap().IsLoopback() {
		return true
	}
	return governor.Trusted(req.RemoteAddr, r.proxies)
}
