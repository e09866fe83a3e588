package wire

import "testing"

func TestText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw, want string
		ok        bool
	}{
		{`""`, "", true},
		{`"a ä 日本 🙂"`, "a ä 日本 🙂", true},
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t", true},
		{`"\u0041\u00e4\u65e5\uFFFD"`, "Aä日\ufffd", true},
		{`"\ud83d\ude42!"`, "🙂!", true},
		{`"\u0000"`, "\x00", true},

		{`"\ud83d"`, "", false},
		{`"\ude42"`, "", false},
		{`"\ud83dx"`, "", false},
		{`"\ud83d\n"`, "", false},
		{`"\ud83d\u0041"`, "", false},
		{`"\ud83d\ud83d\ude42"`, "", false},
		{`"\ude42\ud83d"`, "", false},
		{``, "", false},
		{`"`, "", false},
		{`a`, "", false},
		{`null`, "", false},
		{`"a`, "", false},
		{`"a" `, "", false},
		{`"a""b"`, "", false},
		{`"\`, "", false},
		{`"\u12"`, "", false},
		{"\"\xff\"", "", false},
	} {
		if got, ok := textOf([]byte(tt.raw)); ok != tt.ok || ok && got != tt.want {
			t.Errorf("text of %s: %q, %t; want %q, %t", tt.raw, got, ok, tt.want, tt.ok)
		}
	}
	if _, ok := textOf(nil); ok {
		t.Error("nil has a text")
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                   `""`,
		"a ä 日本 🙂":           `"a ä 日本 🙂"`,
		`"\/`:                `"\"\\/"`,
		"\b\f\n\r\t\x00\x1f": `"\b\f\n\r\t\u0000\u001f"`,
		"<a href='x'>&":      `"<a href='x'>&"`,
		"a\u2028b\u2029":     `"a\u2028b\u2029"`,
		"a\xffb\xc3":         `"a\ufffdb\ufffd"`,
		"\ufffd":             "\"\ufffd\"",
	} {
		if got := string(appendString(nil, in)); got != want {
			t.Errorf("%q quoted: %s, want %s", in, got, want)
		}
	}
}
