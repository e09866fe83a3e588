package push

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errPrivate: a push service has an address that the server must not connect to. A user chooses the push service, and
// could reach services of the server's own network with it.
var errPrivate = errors.New("the address is not public")

// newClient returns the client for push services. It connects to public addresses only, as they are resolved for the
// connection, follows no redirects and uses no proxy, which would resolve the name itself.
func newClient(private bool, roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: sendTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !allowed(net.IP(to.Addr().AsSlice()), private) {
			return errPrivate
		}
		return nil
	}}
	return &http.Client{
		Timeout: sendTimeout,
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: workers, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10,
			TLSHandshakeTimeout: sendTimeout, ResponseHeaderTimeout: sendTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// special are networks that are not public, besides those that net/netip tells: shared addresses of providers,
// protocol assignments, benchmarks, reserved, and IPv6 networks that have IPv4 addresses inside.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

// allowed reports whether the server may connect to an address of a push service. private allows private and loopback
// addresses too.
func allowed(ip net.IP, private bool) bool {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return false
	}
	a = a.Unmap()
	if private && (a.IsPrivate() || a.IsLoopback() || special[1].Contains(a)) {
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
