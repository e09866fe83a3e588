package governor

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestClientKey(t *testing.T) {
	t.Parallel()
	proxies := prefixes("10.0.0.0/8", "127.0.0.1/32", "2001:db8:ffff::/48", "fe80::/10")
	mapped := prefixes("::ffff:10.0.0.0/104")
	xff := func(lines ...string) []string { return lines }
	for _, test := range []struct {
		name    string
		remote  string
		header  []string
		trusted []netip.Prefix
		want    string
	}{
		{"IPv4", "192.0.2.7:4711", nil, nil, "192.0.2.7"},
		{"IPv6", "[2001:db8:1:2:3:4:5:6]:4711", nil, nil, "2001:db8:1:2::/64"},
		{"IPv6 with zone", "[fe80::1%eth0]:4711", nil, nil, "fe80::/64"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.7]:4711", nil, nil, "192.0.2.7"},
		{"no port", "192.0.2.7", nil, nil, "192.0.2.7"},
		{"Unix socket", "@", xff("192.0.2.7"), nil, "192.0.2.7"},
		{"Unix socket, two proxies", "", xff("198.51.100.1, 192.0.2.7, 10.0.0.1"), proxies, "192.0.2.7"},
		{"Unix socket without the header", "@", nil, proxies, "unknown"},
		{"Unix socket, client unknown", "@", xff("192.0.2.7, unix:"), proxies, "unknown"},
		{"empty remote", "", nil, nil, "unknown"},

		{"no trusted proxies", "10.0.0.1:1", xff("192.0.2.7"), nil, "10.0.0.1"},
		{"sender is not a proxy", "198.51.100.9:1", xff("192.0.2.7"), proxies, "198.51.100.9"},
		{"one proxy", "10.0.0.1:1", xff("192.0.2.7"), proxies, "192.0.2.7"},
		{"one proxy, IPv6 client", "10.0.0.1:1", xff("2001:db8::1"), proxies, "2001:db8::/64"},
		{"IPv6 proxy", "[2001:db8:ffff::1]:1", xff("192.0.2.7"), proxies, "192.0.2.7"},
		{"link-local proxy", "[fe80::2%eth0]:1", xff("192.0.2.7"), proxies, "192.0.2.7"},
		{"proxy in IPv6 notation", "[::ffff:10.0.0.1]:1", xff("192.0.2.7"), proxies, "192.0.2.7"},
		{"trusted in IPv6 notation", "10.0.0.1:1", xff("192.0.2.7"), mapped, "192.0.2.7"},
		{"trusted in IPv6 notation, other", "11.0.0.1:1", xff("192.0.2.7"), mapped, "11.0.0.1"},
		{"two proxies", "10.0.0.1:1", xff("192.0.2.7, 10.9.9.9"), proxies, "192.0.2.7"},
		{"proxy without the header", "10.0.0.1:1", nil, proxies, "10.0.0.1"},
		{"only proxies", "10.0.0.1:1", xff("10.0.0.3, 10.0.0.2"), proxies, "10.0.0.3"},

		{"client forges an entry", "10.0.0.1:1", xff("1.1.1.1, 192.0.2.7"), proxies, "192.0.2.7"},
		{"client pretends to be a proxy", "10.0.0.1:1", xff("10.0.0.8, 192.0.2.7"), proxies, "192.0.2.7"},
		{"client forges a line", "10.0.0.1:1", xff("1.1.1.1", "192.0.2.7"), proxies, "192.0.2.7"},
		{"entries on two lines", "10.0.0.1:1", xff("1.1.1.1, 192.0.2.7", "10.0.0.2"), proxies, "192.0.2.7"},
		{"garbage left of the client", "10.0.0.1:1", xff("\x00<script>, 192.0.2.7"), proxies, "192.0.2.7"},

		{"proxy does not know its client", "10.0.0.1:1", xff("1.1.1.1, unknown"), proxies, "10.0.0.1"},
		{"second proxy does not know its client", "10.0.0.1:1", xff("1.1.1.1, unix:, 10.0.0.2"), proxies, "10.0.0.2"},
		{"empty entry", "10.0.0.1:1", xff("1.1.1.1,"), proxies, "10.0.0.1"},
		{"empty line", "10.0.0.1:1", xff("1.1.1.1", ""), proxies, "10.0.0.1"},
		{"only commas", "10.0.0.1:1", xff(strings.Repeat(",", 5000)), proxies, "10.0.0.1"},
		{"a name", "10.0.0.1:1", xff("localhost"), proxies, "10.0.0.1"},
		{"out of range", "10.0.0.1:1", xff("256.1.1.1"), proxies, "10.0.0.1"},
		{"octal", "10.0.0.1:1", xff("010.1.1.1"), proxies, "10.0.0.1"},
		{"list without commas", "10.0.0.1:1", xff("192.0.2.7 192.0.2.8"), proxies, "10.0.0.1"},

		{"spaces", "10.0.0.1:1", xff(" \t192.0.2.7\t "), proxies, "192.0.2.7"},
		{"with port", "10.0.0.1:1", xff("192.0.2.7:5050"), proxies, "192.0.2.7"},
		{"IPv6 with port", "10.0.0.1:1", xff("[2001:db8::1]:5050"), proxies, "2001:db8::/64"},
		{"IPv6 in brackets", "10.0.0.1:1", xff("[2001:db8::1]"), proxies, "2001:db8::/64"},
		{"IPv4 in brackets", "10.0.0.1:1", xff("[192.0.2.7]"), proxies, "10.0.0.1"},
		{"open bracket", "10.0.0.1:1", xff("[2001:db8::1"), proxies, "10.0.0.1"},
		{"brackets only", "10.0.0.1:1", xff("[]"), proxies, "10.0.0.1"},
		{"zone chosen by the client", "10.0.0.1:1", xff("2001:db8::1%" + strings.Repeat("z", 9000)), proxies, "2001:db8::/64"},
		{"proxy with a zone", "10.0.0.1:1", xff("192.0.2.7, 2001:db8:ffff::9%x"), proxies, "192.0.2.7"},
		{"endless chain", "10.0.0.1:1", xff("192.0.2.7" + strings.Repeat(", 10.0.0.2", 5000)), proxies, "10.0.0.2"},
		{"endless lines", "10.0.0.1:1", append(xff("192.0.2.7"), strings.Split(strings.Repeat("10.0.0.2 ", 5000), " ")[:5000]...), proxies, "10.0.0.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{RemoteAddr: test.remote, Header: http.Header{"X-Forwarded-For": test.header}}
			if got := ClientKey(r, test.trusted); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestClientKeyForwarded: Forwarded is read as X-Forwarded-For is, and only without it.
func TestClientKeyForwarded(t *testing.T) {
	t.Parallel()
	proxies := prefixes("10.0.0.0/8", "2001:db8:ffff::/48")
	for _, test := range []struct {
		name, remote string
		forwarded    []string
		xff          []string
		want         string
	}{
		{"one proxy", "10.0.0.1:1", []string{"for=192.0.2.7;proto=https"}, nil, "192.0.2.7"},
		{"IPv6 with port", "10.0.0.1:1", []string{`for="[2001:db8::1]:4711"`}, nil, "2001:db8::/64"},
		{"IPv4 with port", "10.0.0.1:1", []string{`for="192.0.2.7:4711"`}, nil, "192.0.2.7"},
		{"two proxies", "[2001:db8:ffff::1]:1", []string{"for=198.51.100.1, for=192.0.2.7, for=10.0.0.2"}, nil, "192.0.2.7"},
		{"hidden client", "10.0.0.1:1", []string{"for=192.0.2.7, for=_hidden"}, nil, "10.0.0.1"},
		{"unknown client", "10.0.0.1:1", []string{"for=unknown"}, nil, "10.0.0.1"},
		{"element without a client", "10.0.0.1:1", []string{"for=192.0.2.7, proto=https"}, nil, "10.0.0.1"},
		{"quote of a client", "10.0.0.1:1", []string{`for=1.1.1.1;x=", for=192.0.2.7`}, nil, "10.0.0.1"},
		{"untrusted sender", "198.51.100.9:1", []string{"for=192.0.2.7"}, nil, "198.51.100.9"},
		{"Unix socket", "@", []string{"for=192.0.2.7"}, nil, "192.0.2.7"},
		{"X-Forwarded-For wins", "10.0.0.1:1", []string{"for=1.1.1.1"}, []string{"192.0.2.7"}, "192.0.2.7"},
		{"X-Forwarded-For wins although it names no client", "10.0.0.1:1", []string{"for=1.1.1.1"}, []string{""}, "10.0.0.1"},
	} {
		h := http.Header{"Forwarded": test.forwarded}
		if test.xff != nil {
			h["X-Forwarded-For"] = test.xff
		}
		if got := ClientKey(&http.Request{RemoteAddr: test.remote, Header: h}, proxies); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestClientKeySameNetwork(t *testing.T) {
	t.Parallel()
	key := func(remote string) string { return ClientKey(&http.Request{RemoteAddr: remote}, nil) }
	if a, b := key("[2001:db8:1:2::1]:1"), key("[2001:db8:1:2:ffff::9]:2"); a != b {
		t.Errorf("addresses of one /64 have the keys %s and %s", a, b)
	}
	if a, b := key("[2001:db8:1:2::1]:1"), key("[2001:db8:1:3::1]:1"); a == b {
		t.Errorf("two /64 networks have the same key %s", a)
	}
	if a, b := key("192.0.2.7:1"), key("192.0.2.8:1"); a == b {
		t.Errorf("two addresses have the same key %s", a)
	}
}

func FuzzClientKey(f *testing.F) {
	f.Add("10.0.0.1:1", "192.0.2.7, 10.0.0.2", "[2001:db8::1]:5")
	f.Add("192.0.2.1:1", ",,", "unknown")
	f.Add("[fe80::1%x]:1", "fe80::2%y", "")
	f.Add("@", "[", "]")
	trusted := prefixes("10.0.0.0/8", "fe80::/10", "::ffff:172.16.0.0/108")
	f.Fuzz(func(t *testing.T, remote, line1, line2 string) {
		with := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {line1, line2}}}
		key := ClientKey(with, trusted)
		direct := ClientKey(&http.Request{RemoteAddr: remote}, trusted)
		if !Trusted(remote, trusted) && key != direct {
			t.Fatalf("the header of an untrusted sender is used: %q, want %q", key, direct)
		}
		if key == unknownClient {
			return
		}
		if addr, err := netip.ParseAddr(key); err == nil {
			if !addr.Is4() {
				t.Fatalf("key %q is a single address that is not IPv4", key)
			}
			return
		}
		if p, err := netip.ParsePrefix(key); err != nil || p.Bits() != 64 || p != p.Masked() || p.Addr().Is4In6() {
			t.Fatalf("key %q is neither an IPv4 address nor an IPv6 /64", key)
		}
	})
}

func BenchmarkClientKey(b *testing.B) {
	trusted := prefixes("10.0.0.0/8", "2001:db8:ffff::/48")
	for _, bench := range []struct {
		name string
		r    *http.Request
	}{
		{"direct", &http.Request{RemoteAddr: "192.0.2.7:4711"}},
		{"proxied", &http.Request{RemoteAddr: "10.0.0.1:4711", Header: http.Header{"X-Forwarded-For": {"1.1.1.1, 2001:db8::1, 10.0.0.2"}}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ClientKey(bench.r, trusted)
			}
		})
	}
}
