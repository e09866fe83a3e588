package wire

import (
	"strings"
	"testing"
)

func TestScanObject(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
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

		{``, malformed, "", ""},
		{` `, malformed, "", ""},
		{`null`, malformed, "", ""},
		{`[]`, malformed, "", ""},
		{`"a"`, malformed, "", ""},
		{`{`, malformed, "", ""},
		{`{"a":1`, malformed, "", ""},
		{`{"a":1,}`, malformed, "", ""},
		{`{,"a":1}`, malformed, "", ""},
		{`{"a"}`, malformed, "", ""},
		{`{"a":}`, malformed, "", ""},
		{`{"a" 1}`, malformed, "", ""},
		{`{a:1}`, malformed, "", ""},
		{`{'a':1}`, malformed, "", ""},
		{`{"a":1}{}`, malformed, "", ""},
		{`{"a":1} x`, malformed, "", ""},
		{`{"a":1 "b":2}`, malformed, "", ""},
		{"\ufeff{}", malformed, "", ""},
		{"{}\x00", malformed, "", ""},
		{"{\u00a0}", malformed, "", ""},
		{`{"a":01}`, malformed, "", ""},
		{`{"a":-}`, malformed, "", ""},
		{`{"a":+1}`, malformed, "", ""},
		{`{"a":1.}`, malformed, "", ""},
		{`{"a":.5}`, malformed, "", ""},
		{`{"a":1e}`, malformed, "", ""},
		{`{"a":1e+-1}`, malformed, "", ""},
		{`{"a":0x1}`, malformed, "", ""},
		{`{"a":NaN}`, malformed, "", ""},
		{`{"a":nul}`, malformed, "", ""},
		{`{"a":True}`, malformed, "", ""},
		{`{"a":"x}`, malformed, "", ""},
		{`{"a":"\x"}`, malformed, "", ""},
		{`{"a":"\u12g4"}`, malformed, "", ""},
		{`{"a":"\u12"}`, malformed, "", ""},
		{`{"a":"\`, malformed, "", ""},
		{`{"a":"\"}`, malformed, "", ""},
		{"{\"a\":\"\n\"}", malformed, "", ""},
		{"{\"a\":\"\x00\"}", malformed, "", ""},
		{"{\"a\":\"\xff\"}", malformed, "", ""},
		{"{\"a\":\"\xed\xa0\x80\"}", malformed, "", ""},
		{"{\"x\":\"\xc0\x80\",\"a\":1}", malformed, "", ""},
		{`{"x":[1,]}`, malformed, "", ""},
		{`{"x":[1 2]}`, malformed, "", ""},
		{`{"x":{"y":1,}}`, malformed, "", ""},
		{`{"x":[}`, malformed, "", ""},
		{`{"x":[1}`, malformed, "", ""},
		{`{"x":` + deep(maxDepth) + `}`, malformed, "", ""},
		{`{"x":` + strings.Repeat("[", 1<<20), malformed, "", ""},
		{strings.Repeat(`{"x":`, 1<<20), malformed, "", ""},
		{`{"a":1,"a":2`, malformed, "", ""},
	} {
		values := [][]byte{[]byte("stale"), []byte("stale")}
		got := scanObject([]byte(tt.in), []string{"a", "b"}, values)
		if got != tt.want || string(values[0]) != tt.a || string(values[1]) != tt.b {
			t.Errorf("%.60q: verdict %d, a %q, b %q; want %d, %q, %q", tt.in, got, values[0], values[1], tt.want, tt.a, tt.b)
		}
	}
}
