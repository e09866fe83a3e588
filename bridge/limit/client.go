package limit

import (
	"net/http"
	"net/netip"
	"strings"
)

const (
	// unknownClient is the key of requests whose connection has no IP address
	// (a Unix socket): they share one bucket.
	unknownClient = "unknown"

	// maxHops bounds how much of a forwarded list is read. A real chain of
	// proxies has a few.
	maxHops = 16
)

// ClientKey names the client that a request comes from, for limits and logs: an
// IPv4 address ("192.0.2.7"), or the /64 network of an IPv6 address
// ("2001:db8:1:2::/64"), since one host commands a whole /64; "unknown" where the
// connection has no IP address.
//
// The address is the connection's, unless that belongs to one of the trusted
// proxies: then X-Forwarded-For is read from the right, where each proxy adds
// who it was called by, up to the first address that is not a trusted proxy.
// What stands further left was written by whoever it liked, and is not looked
// at. An entry that is no address ends the walk at the proxy that added it.
func ClientKey(r *http.Request, trusted []netip.Prefix) string {
	addr, ok := parseAddr(r.RemoteAddr)
	if !ok {
		return unknownClient
	}
	if isTrusted(addr, trusted) {
		addr = forwardedFor(r.Header["X-Forwarded-For"], trusted, addr)
	}
	return addrKey(addr)
}

// forwardedFor walks the header's lines, which are one list, from the right.
// The result is proxy when the list has nothing usable.
func forwardedFor(lines []string, trusted []netip.Prefix, proxy netip.Addr) netip.Addr {
	addr, hops := proxy, 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := lines[i], true
		for more {
			if hops++; hops > maxHops {
				return addr
			}
			var entry string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				entry, more = rest, false
			}
			// An empty entry too is a proxy that didn't know its caller, so what
			// stands before it has no one to vouch for it.
			next, ok := parseAddr(strings.Trim(entry, " \t"))
			if !ok {
				return addr
			}
			addr = next
			if !isTrusted(addr, trusted) {
				return addr
			}
		}
	}
	return addr
}

// parseAddr reads an address with or without port and brackets, as connections
// and proxies write them.
func parseAddr(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			inner, ok := strings.CutPrefix(s, "[")
			inner, closed := strings.CutSuffix(inner, "]")
			if !ok || !closed {
				return netip.Addr{}, false
			}
			if addr, err = netip.ParseAddr(inner); err != nil || !addr.Is6() {
				return netip.Addr{}, false
			}
		} else {
			addr = ap.Addr()
		}
	}
	// The zone is the sender's to choose, and 192.0.2.7 is one client however a
	// socket writes it.
	return addr.WithZone("").Unmap(), true
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
		// A network written as ::ffff:10.0.0.0/104 means IPv4 addresses.
		if addr.Is4() && p.Addr().Is4In6() && p.Contains(netip.AddrFrom16(addr.As16())) {
			return true
		}
	}
	return false
}

func addrKey(addr netip.Addr) string {
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return unknownClient // only an invalid address has no /64
	}
	return network.String()
}
