package outbound

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

func TestAllowed(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][2]bool{
		"192.0.2.1": {true, true}, "93.184.216.34": {true, true}, "2606:2800:220:1::1": {true, true}, "10.1.2.3": {false, true}, "192.168.1.1": {false, true}, "172.16.0.1": {false, true},
		"127.0.0.1": {false, true}, "::1": {false, true}, "fd00::1": {false, true}, "100.64.0.1": {false, true}, "::ffff:10.0.0.1": {false, true},
		"169.254.169.254": {false, false}, "fe80::1": {false, false}, "0.0.0.0": {false, false}, "::": {false, false}, "224.0.0.1": {false, false}, "255.255.255.255": {false, false},
		"64:ff9b::a00:1": {false, false}, "2002:a00:1::": {false, false}, "240.0.0.1": {false, false},
		"fd00:ec2::254": {false, false}, "100.100.100.200": {false, false}, "168.63.129.16": {false, false}, "::ffff:169.254.169.254": {false, false},
		"::ffff:127.0.0.1": {false, true}, "::7f00:1": {false, false}, "fd00::1%eth0": {false, true},
	} {
		if got := [2]bool{Allowed(netip.MustParseAddr(address), false), Allowed(netip.MustParseAddr(address), true)}; got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// TestClient: the address is checked at the connection, and a redirect is not followed.
func TestClient(t *testing.T) {
	t.Parallel()
	visits := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visits++
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	t.Cleanup(srv.Close)
	port := netip.MustParseAddrPort(srv.Listener.Addr().String()).Port()
	for _, host := range []string{srv.URL, "http://localhost:" + strconv.Itoa(int(port))} {
		if _, err := NewClient(Options{Timeout: 5 * time.Second}).Get(host); !errors.Is(err, ErrPrivate) {
			t.Errorf("%s: %v", host, err)
		}
	}
	answer, err := NewClient(Options{Timeout: 5 * time.Second, Private: true}).Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusFound || visits != 1 {
		t.Errorf("status %d, %d visits", answer.StatusCode, visits)
	}
}
