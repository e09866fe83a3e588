package picture

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

var (
	png  = "\x89PNG\x0D\x0A\x1A\x0A" + strings.Repeat("p", 50)
	jpeg = "\xFF\xD8\xFF" + strings.Repeat("j", 50)
	gif  = "GIF89a" + strings.Repeat("g", 50)
	webp = "RIFF\x10\x00\x00\x00WEBPVP8 " + strings.Repeat("w", 50)
)

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestParse(t *testing.T) {
	t.Parallel()
	in := encode(png)
	for _, row := range []struct{ text, kind, data string }{
		{encode(png), "image/png", png}, {encode(jpeg), "image/jpeg", jpeg}, {encode(gif), "image/gif", gif}, {encode(webp), "image/webp", webp},
		{"img/base64:" + in, "image/png", png}, {"data:image/png;base64," + in, "image/png", png},
		{"data:image/svg+xml;base64," + in, "image/png", png}, {"data:text/html;base64," + encode(gif), "image/gif", gif},
		{strings.TrimRight(in, "="), "image/png", png}, {in[:20] + "\r\n" + in[20:30] + "\n\t " + in[30:], "image/png", png},
		{text: ""}, {text: ":"}, {text: "img/base64:01010101010101010101010"}, {text: "hello"}, {text: in + "!"}, {text: png},
		{text: "data:image/png," + in + ",x"}, {text: strings.Repeat("x", 80) + ":" + in},
		{text: "data:image/svg+xml;base64," + encode(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`)},
		{text: encode("<!DOCTYPE html><script>alert(1)</script>")}, {text: encode("BM" + strings.Repeat("b", 60))}, {text: encode("%PDF-1.7")},
	} {
		got, ok := Parse(row.text)
		if ok != (row.kind != "") || got.Type != row.kind && ok || string(got.Data) != row.data {
			t.Errorf("%q: got %s, %t, want %q", row.text, got.Type, ok, row.kind)
		}
		if sum := sha256.Sum256([]byte(row.data)); ok && got.Hash != hex.EncodeToString(sum[:]) {
			t.Errorf("%q: the hash is %s", row.text, got.Hash)
		}
	}
}

func TestShown(t *testing.T) {
	t.Parallel()
	i, _ := Parse(encode(png))
	long := strings.Repeat("x", MaxText)
	for text, want := range map[string]string{
		"": "", "hello": "hello", long: long, long + "x": "", "/im/logout": "", encode(png): Path + i.Hash + "/id",
		"data:image/png;base64," + encode(png): Path + i.Hash + "/id", encode(strings.Repeat("text", 1000)): "",
	} {
		if got := Shown("id", text); got != want {
			t.Errorf("%.40q: got %.40q, want %.40q", text, got, want)
		}
	}
}

func FuzzShown(f *testing.F) {
	f.Add(encode(png))
	f.Add("data:image/svg+xml;base64,PHN2Zz4=")
	f.Fuzz(func(t *testing.T, text string) {
		got := Shown("id", text)
		if i, ok := Parse(text); ok && (!safe[i.Type] || got != Path+i.Hash+"/id") || !ok && got != "" && (got != text || len(got) > MaxText || got[0] == '/') {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
