package governor

import (
	"net/http"
	"net/netip"
	"strings"
)

const (
	// unknownClient is the shared key of all connections without an IP address, such as a Unix socket.
	unknownClient = "unknown"

	// maxHops limits how many entries of X-Forwarded-For are read. A real chain of proxies has a few.
	maxHops = 16
)

// ClientKey returns the client of a request, for limits and logs: an IPv4 address ("192.0.2.7") or the /64 network of
// an IPv6 address ("2001:db8:1:2::/64"), since one host usually controls a whole /64. It returns "unknown" if the
// connection has no IP address.
//
// The address is that of the connection. If it belongs to a trusted proxy, ClientKey reads X-Forwarded-For from the
// right, where each proxy appends the address of its client, and takes the first address that is not a trusted proxy.
// Entries further left are not read, since a client can forge them. An entry that is not an address ends the search at
// the proxy that appended it.
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

// forwardedFor searches the lines of the header, which form one list, from the right. It returns proxy if the list has
// no usable entry.
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

// parseAddr parses an address with or without port and brackets, the forms that connections and proxies use. It removes
// the zone and converts IPv4 in IPv6 to IPv4.
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

// Trusted reports whether an address, with or without a port, belongs to a trusted proxy.
func Trusted(address string, trusted []netip.Prefix) bool {
	addr, ok := parseAddr(address)
	return ok && isTrusted(addr, trusted)
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
