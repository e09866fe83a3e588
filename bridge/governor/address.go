package governor

import (
	"net/http"
	"net/netip"
	"strings"

	"imctl/bridge/proxy"
)

// unknownClient is the shared key of all connections without a known IP address: those of a Unix socket whose proxy
// does not name its client.
const unknownClient = "unknown"

// ClientKey returns the client of a request, for limits and logs: an IPv4 address ("192.0.2.7") or the /64 network of
// an IPv6 address ("2001:db8:1:2::/64"), since one host usually controls a whole /64. It returns "unknown" if no IP
// address is known.
//
// The address is that of the connection. If it belongs to a trusted proxy, or the connection is that of a Unix socket,
// ClientKey reads X-Forwarded-For from the right, where each proxy appends the address of its client, and takes the
// first address that is not a trusted proxy. Entries further left are not read, since a client can forge them. An
// entry that is not an address ends the search at the proxy that appended it. Forwarded (RFC 7239) is read in the same
// way if the request has no X-Forwarded-For: a proxy that sets one of them passes the other one on as the client sent
// it, and most set X-Forwarded-For.
func ClientKey(r *http.Request, trusted []netip.Prefix) string {
	addr, ok := parseAddr(r.RemoteAddr)
	switch {
	case ok && !isTrusted(addr, trusted):
	case len(r.Header["X-Forwarded-For"]) > 0:
		addr = forwardedFor(r.Header["X-Forwarded-For"], trusted, addr)
	default:
		addr = forwardedElements(r.Header["Forwarded"], trusted, addr)
	}
	if !addr.IsValid() {
		return unknownClient
	}
	return addrKey(addr)
}

// forwardedElements searches the elements of Forwarded from the right. It returns peer if the header has no usable
// element.
func forwardedElements(lines []string, trusted []netip.Prefix, peer netip.Addr) netip.Addr {
	addr := peer
	all := proxy.Parse(lines)
	for i := len(all) - 1; i >= 0; i-- {
		next, ok := parseAddr(all[i].For)
		if !ok {
			return addr
		}
		addr = next
		if !isTrusted(addr, trusted) {
			return addr
		}
	}
	return addr
}

// forwardedFor searches the lines of the header, which form one list, from the right. It returns peer if the list has
// no usable entry.
func forwardedFor(lines []string, trusted []netip.Prefix, peer netip.Addr) netip.Addr {
	addr, hops := peer, 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := lines[i], true
		for more {
			if hops++; hops > proxy.Most {
				return addr
			}
			var entry string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				entry, more = rest, false
			}
			// With an empty entry too, the proxy did not know its client, so no trusted proxy vouches for the entries
			// before it.
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

// parseAddr parses an address with or without port and brackets, the forms that connections and proxies use. It
// removes the zone and converts IPv4 in IPv6 to IPv4.
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
	// The sender chooses the zone. ::ffff:192.0.2.7 and 192.0.2.7 are the same client.
	return addr.WithZone("").Unmap(), true
}

// Trusted reports whether the address of a connection, with or without a port, belongs to a trusted proxy. An address
// that is no IP address is that of a Unix socket, to which only a proxy connects.
func Trusted(address string, trusted []netip.Prefix) bool {
	addr, ok := parseAddr(address)
	return !ok || isTrusted(addr, trusted)
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
		// The network ::ffff:10.0.0.0/104 means IPv4 addresses.
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
