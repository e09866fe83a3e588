package origin

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"

	"github.com/rs/cors"

	"imctl/bridge/governor"
	"imctl/bridge/proxy"
)

// maxAge is for how long a browser keeps the answer to a preflight request, in seconds. Chromium keeps none longer.
const maxAge = 7200

// Options configure a Checker.
type Options struct {
	Origins []string       // of web pages, besides the server's own; see Check
	Proxies []netip.Prefix // whose headers about hosts and schemes are used
	Log     *slog.Logger
}

// Checker tells which pages may call. Its methods are safe for concurrent use.
type Checker struct {
	opts     Options
	patterns atomic.Pointer[[]pattern]
	cors     *cors.Cors
	public   *cors.Cors
	refused  Once // origins
	peers    Once // that name their clients, and are no trusted proxies
}

// New returns a Checker.
func New(o Options) *Checker {
	c := &Checker{opts: o}
	c.Set(o.Origins)
	// Credentials are in fields and in Authorization, so no browser adds any by itself.
	c.cors = cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(_ *http.Request, origin string) (bool, []string) { return c.listed(origin), nil },
		AllowedMethods:             []string{http.MethodGet, http.MethodHead, http.MethodPost},
		AllowedHeaders:             []string{"Authorization", "Content-Type", "Range", "If-Range", "If-None-Match"},
		ExposedHeaders:             []string{"Retry-After", "Content-Disposition", "Content-Range", "Accept-Ranges", "ETag"},
		MaxAge:                     maxAge,
	})
	c.public = cors.New(cors.Options{
		AllowedOrigins: []string{"*"},
		AllowedMethods: []string{http.MethodGet, http.MethodHead},
		ExposedHeaders: []string{"Retry-After"},
		MaxAge:         maxAge,
	})
	return c
}

// Set changes the origins of other pages. It ignores invalid ones, which Check finds.
func (c *Checker) Set(origins []string) {
	var all []pattern
	for _, text := range origins {
		if p, err := parsePattern(text); err == nil {
			all = append(all, p)
		}
	}
	c.patterns.Store(&all)
}

// listed reports whether the configuration lists an origin.
func (c *Checker) listed(origin string) bool {
	s, ok := parse(origin)
	return ok && c.lists(s)
}

func (c *Checker) lists(s site) bool {
	for _, p := range *c.patterns.Load() {
		if p.matches(s) {
			return true
		}
	}
	return false
}

// Allowed reports whether the page that sent a request may call. Clients other than browsers send no origin. The first
// refusal of an origin is logged.
func (c *Checker) Allowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	s, ok := parse(origin)
	if ok && (c.lists(s) || c.own(s, r)) {
		return true
	}
	c.warn(s, ok, r)
	return false
}

// own reports whether an origin is that of the server, as its client calls it. A page that was loaded without TLS may
// be an attacker's on the way, so it is not the server's if the client uses TLS. A proxy that is not trusted may have
// removed the TLS, so without TLS both schemes are.
func (c *Checker) own(s site, r *http.Request) bool {
	trusted := governor.Trusted(r.RemoteAddr, c.opts.Proxies)
	hosts, encrypted := []string{r.Host}, r.TLS != nil
	if trusted {
		encrypted = encrypted || proxy.Scheme(r.Header) == "https"
		if host := proxy.Host(r.Header); host != "" {
			hosts = append(hosts, host) // no page can send this header without being asked for its origin first
		}
	}
	if s.scheme != "https" && (encrypted || s.scheme != "http") {
		return false
	}
	for _, hostPort := range hosts {
		host, port := splitHost(hostPort)
		if host != s.host {
			continue
		}
		// Without a port, a proxy has left it out, as nginx's $host does, or it is the default. Any page of that host is
		// then the server's: it could load the server's own page anyway, and has none of its tokens.
		if port == s.port || port == "" && (trusted || s.port == defaultPorts[s.scheme]) {
			return true
		}
	}
	return false
}

// warn logs a refused origin once.
func (c *Checker) warn(s site, ok bool, r *http.Request) {
	origin := "null"
	if u, err := url.Parse(r.Header.Get("Origin")); err == nil && u.Host != "" {
		origin = Shown(u.Scheme + "://" + u.Host)
	}
	if !c.refused.First(origin + " " + Shown(r.Host)) {
		return
	}
	remedy := "if the page is yours, add its origin to http.origins"
	if ok && Host(r.Host) == s.host && !governor.Trusted(r.RemoteAddr, c.opts.Proxies) {
		remedy += "; if a proxy passes the server's own page on, add its address to http.trusted_proxies, or let it pass the header Host unchanged, " +
			"as $http_host does in nginx"
	}
	c.opts.Log.Warn("the page of another origin is refused: "+remedy, "origin", origin, "host", Shown(r.Host), "peer", peerOf(r))
}

// peerOf returns the address of the connection of a request for the log.
func peerOf(r *http.Request) string {
	return governor.ClientKey(&http.Request{RemoteAddr: r.RemoteAddr}, nil)
}

// Note warns once of each peer that names the client of a request and is no trusted proxy, and of a proxy on a Unix
// socket that names none.
func (c *Checker) Note(r *http.Request) {
	named := proxy.Any(r.Header)
	if _, err := netip.ParseAddrPort(r.RemoteAddr); err != nil { // a Unix socket
		if named || !c.peers.First("") {
			return
		}
		c.opts.Log.Warn("a request on the Unix socket has neither X-Forwarded-For nor Forwarded, so all such clients count as one: let the proxy set X-Forwarded-For")
		return
	}
	if !named || governor.Trusted(r.RemoteAddr, c.opts.Proxies) {
		return
	}
	if peer := peerOf(r); c.peers.First(peer) {
		c.opts.Log.Warn("X-Forwarded-For or Forwarded is not used, since its sender is no trusted proxy, so all clients of the sender count as one: "+
			"if it is your proxy, add its address to http.trusted_proxies", "peer", peer)
	}
}

// Calls returns a handler that lets the pages of listed origins read the answers of next (CORS). It answers their
// preflight requests itself. Without listed origins the answers are those of next.
func (c *Checker) Calls(next http.Handler) http.Handler {
	handler := c.cors.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Allowed(r) // warns of pages that cannot read the answer
		if len(*c.patterns.Load()) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// Public returns a handler that lets the pages of all origins read the answers of next, and answers their preflight
// requests.
func (c *Checker) Public(next http.Handler) http.Handler { return c.public.Handler(next) }
