package proxy

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lines []string
		want  []Element
	}{
		{"none", nil, nil},
		{"one", []string{"for=192.0.2.60;proto=http;by=203.0.113.43"}, []Element{{For: "192.0.2.60", Proto: "http"}}},
		{"case and spaces", []string{` For="[2001:db8::17]:4711" ; Host=im.example.org`}, []Element{{For: "[2001:db8::17]:4711", Host: "im.example.org"}}},
		{"quoted", []string{`For="[2001:db8::17]:4711";HOST="im.example.org:8443"`}, []Element{{For: "[2001:db8::17]:4711", Host: "im.example.org:8443"}}},
		{"several", []string{"for=192.0.2.43, for=198.51.100.17;proto=https"}, []Element{{For: "192.0.2.43"}, {For: "198.51.100.17", Proto: "https"}}},
		{"lines", []string{"for=192.0.2.43", "for=198.51.100.17"}, []Element{{For: "192.0.2.43"}, {For: "198.51.100.17"}}},
		{"separators in quotes", []string{`for="a,b;c", for=192.0.2.1`}, []Element{{For: "a,b;c"}, {For: "192.0.2.1"}}},
		{"quote without an end", []string{`for="192.0.2.1, for=198.51.100.1`}, []Element{{}}},
		{"quote swallows the proxy's element", []string{`for=1.1.1.1;x="`, `for=198.51.100.1`}, []Element{{}, {For: "198.51.100.1"}}},
		{"quote swallows the element on its line", []string{`for=1.1.1.1;x=", for="[2001:db8::1]:1"`}, []Element{{}}},
		{"escaped quote", []string{`for="1.1.1.1\"", for=198.51.100.1`}, []Element{{}, {For: "198.51.100.1"}}},
		{"given twice", []string{"for=1.1.1.1;for=198.51.100.1"}, []Element{{}}},
		{"no value", []string{"for="}, []Element{{}}},
		{"no pair", []string{"192.0.2.1"}, []Element{{}}},
		{"empty", []string{""}, []Element{{}}},
		{"another pair", []string{"secret=x"}, []Element{{}}},
	} {
		if got := Parse(test.lines); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
	long := Parse([]string{strings.Repeat("for=1.1.1.1,", 5000) + "for=2.2.2.2"})
	if len(long) != Most || long[Most-1].For != "2.2.2.2" {
		t.Errorf("a long list: %d elements", len(long))
	}
	if many := Parse(strings.Split(strings.Repeat("for=1.1.1.1 ", 5000), " ")); len(many) != Most {
		t.Errorf("many lines: %d elements", len(many))
	}
}

func TestSchemeAndHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		h            http.Header
		scheme, host string
	}{
		{"none", http.Header{}, "", ""},
		{"X-Forwarded", http.Header{"X-Forwarded-Proto": {"HTTPS"}, "X-Forwarded-Host": {"im.example.org:8443"}}, "https", "im.example.org:8443"},
		{"chain", http.Header{"X-Forwarded-Proto": {"https, http"}, "X-Forwarded-Host": {"im.example.org , inner"}}, "https", "im.example.org"},
		{"Forwarded", http.Header{"Forwarded": {"proto=https;host=im.example.org, proto=http;host=inner"}}, "https", "im.example.org"},
		{"both", http.Header{"Forwarded": {"proto=http;host=other"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"im.example.org"}}, "https", "im.example.org"},
	} {
		if scheme, host := Scheme(test.h), Host(test.h); scheme != test.scheme || host != test.host {
			t.Errorf("%s: %q %q", test.name, scheme, host)
		}
	}
}
