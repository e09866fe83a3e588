package wire

import (
	"strings"
	"testing"
)

func TestScanObject(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want verdict
		a, b string // raw values, "" for none
	}{
		{`{}`, sound, "", ""},
		{" \t\r\n{ \"a\" : 1 , \"b\" : \"x\" } \n", sound, `1`, `"x"`},
		{`{"a":null,"b":true}`, sound, "", `true`},
		{`{"A":1,"a ":2,"":3,"aa":4}`, sound, "", ""},
		{`{"\u0061":1,"\u0062":2}`, sound, `1`, `2`},
		{`{"\ud800":1,"b":2}`, sound, "", `2`},
		{`{"x":[],"y":{},"z":[1,{"a":[null,false]},"\\"],"a":-0.5e+10}`, sound, `-0.5e+10`, ""},
		{`{"a":{"b":1}}`, sound, `{"b":1}`, ""},
		{`{"a":` + deep(maxDepth-1) + `}`, sound, deep(maxDepth - 1), ""},
		{`{"a":1E9,"b":0}`, sound, `1E9`, `0`},
		{`{"x":1,"x":2,"a":3}`, sound, `3`, ""},

		{`{"a":1,"a":2,"b":3}`, ambiguous, "", `3`},
		{`{"a":null,"a":2}`, ambiguous, "", ""},
		{`{"a":1,"a":null}`, ambiguous, "", ""},
		{`{"a":1,"\u0061":1,"a":1}`, ambiguous, "", ""},
	} {
		values := [][]byte{[]byte("stale"), []byte("stale")}
		got := scanObject([]byte(tt.in), []string{"a", "b"}, values)
		if got != tt.want || string(values[0]) != tt.a || string(values[1]) != tt.b {
			t.Errorf("%.60q: verdict %d, a %q, b %q; want %d, %q, %q", tt.in, got, values[0], values[1], tt.want, tt.a, tt.b)
		}
	}
}

func TestScanObjectRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		``,
		` `,
		`null`,
		`[]`,
		`"a"`,
		`{`,
		`{"a":1`,
		`{"a":1,}`,
		`{,"a":1}`,
		`{"a"}`,
		`{"a":}`,
		`{"a" 1}`,
		`{a:1}`,
		`{'a':1}`,
		`{"a":1}{}`,
		`{"a":1} x`,
		`{"a":1 "b":2}`,
		"\ufeff{}",
		"{}\x00",
		"{\u00a0}",
		`{"a":01}`,
		`{"a":-}`,
		`{"a":+1}`,
		`{"a":1.}`,
		`{"a":.5}`,
		`{"a":1e}`,
		`{"a":1e+-1}`,
		`{"a":0x1}`,
		`{"a":NaN}`,
		`{"a":nul}`,
		`{"a":True}`,
		`{"a":"x}`,
		`{"a":"\x"}`,
		`{"a":"\u12g4"}`,
		`{"a":"\u12"}`,
		`{"a":"\`,
		`{"a":"\"}`,
		"{\"a\":\"\n\"}",
		"{\"a\":\"\x00\"}",
		"{\"a\":\"\xff\"}",
		"{\"a\":\"\xed\xa0\x80\"}",
		"{\"x\":\"\xc0\x80\",\"a\":1}",
		`{"x":[1,]}`,
		`{"x":[1 2]}`,
		`{"x":{"y":1,}}`,
		`{"x":[}`,
		`{"x":[1}`,
		`{"x":` + deep(maxDepth) + `}`,
		`{"x":` + strings.Repeat("[", 1<<20),
		strings.Repeat(`{"x":`, 1<<20),
		`{"a":1,"a":2`,
	} {
		values := [][]byte{[]byte("stale"), []byte("stale")}
		if got := scanObject([]byte(in), []string{"a", "b"}, values); got != malformed || values[0] != nil || values[1] != nil {
			t.Errorf("%.60q: verdict %d, a %q, b %q", in, got, values[0], values[1])
		}
	}
}

// deep returns n nested arrays.
func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
