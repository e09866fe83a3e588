// Package outbound makes HTTP clients for URLs that users and administrators choose. They connect to public addresses
// only, so that the choice reaches no service of the server's own network.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// ErrPrivate: the other server has an address that this one must not connect to.
var ErrPrivate = errors.New("the address is not public")

// Options configure a client.
type Options struct {
	Private bool           // private and loopback addresses are allowed, too
	Timeout time.Duration  // of a request, with the answer
	PerHost int            // idle connections to one host
	RootCAs *x509.CertPool // verify the other server; nil: those of the system
}

// NewClient returns a client that connects to addresses that Allowed lets it, as they are resolved for the connection.
// It follows no redirects and uses no proxy, which would resolve the name itself.
func NewClient(o Options) *http.Client {
	dialer := &net.Dialer{Timeout: o.Timeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !Allowed(to.Addr(), o.Private) {
			return ErrPrivate
		}
		return nil
	}}
	return &http.Client{
		Timeout: o.Timeout,
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: o.PerHost, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10,
			TLSHandshakeTimeout: o.Timeout, ResponseHeaderTimeout: o.Timeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// shared are the addresses that providers share among their customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// special are networks that are not public, besides those that net/netip tells: shared addresses of providers,
// protocol assignments, benchmarks, reserved, and IPv6 networks that have IPv4 addresses inside.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), shared, netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("::/96"),
}

// metadata are the addresses at which clouds give credentials to their machines. That of most clouds is link-local.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"),
}

// Allowed reports whether the server may connect to an address. private allows private and loopback addresses too, and
// never the link-local ones and those of metadata services.
func Allowed(a netip.Addr, private bool) bool {
	a = a.Unmap().WithZone("")
	for _, m := range metadata {
		if a == m {
			return false
		}
	}
	if private && (a.IsPrivate() || a.IsLoopback() || shared.Contains(a)) {
		return true
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// RetryAfter returns how long the header Retry-After of an answer asks to wait, as seconds or a date (RFC 9110, section
// 10.2.3): 0 without a valid one, and most at the longest.
func RetryAfter(h http.Header, now time.Time, most time.Duration) time.Duration {
	var wait time.Duration
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) { // then it is the largest
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), most)
}
