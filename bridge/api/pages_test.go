package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/andybalholm/brotli"

	"imctl/bridge/www"
)

// maxFirstView bounds the bytes on the wire of the page's own files in the first view, with English texts.
const maxFirstView = 40_000

func fetch(t *testing.T, h http.Handler, name string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+name, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestPageOverTheWire loads the page as a browser does: chat.html and each file that it refers to, compressed. All but
// chat.html, icons and manifest are kept forever.
func TestPageOverTheWire(t *testing.T) {
	t.Parallel()
	p := site()
	server := httptest.NewServer(http.StripPrefix(pagePath, p))
	defer server.Close()
	load := func(name string) (body []byte, size int, header http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+pagePath+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err = io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK || answer.ContentLength != int64(len(body)) {
			t.Fatalf("%s: %s with %d of %d bytes, %v", name, answer.Status, len(body), answer.ContentLength, err)
		}
		return body, len(body), answer.Header
	}
	best := func(name string) (body []byte, size int, header http.Header) {
		t.Helper()
		load(name)
		if f, _ := p.find(name); f.encodings != nil {
			<-f.encodings[0].done
		}
		return load(name)
	}
	html, sum, _ := best("chat.html")
	page, err := io.ReadAll(brotli.NewReader(bytes.NewReader(html)))
	if err != nil {
		t.Fatal(err)
	}
	forever := 0
	for _, m := range regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(string(page), -1) {
		_, size, header := best(m[1])
		sum += size
		switch caching := header.Get("Cache-Control"); {
		case strings.HasPrefix(m[1], hashPrefix+p.hash+"/") && caching == cacheForever:
			forever++
		case strings.Contains(m[1], "/") || path.Ext(m[1]) == ".js" || path.Ext(m[1]) == ".css" || caching != cacheChecked:
			t.Errorf("%s is served with %q", m[1], caching)
		}
	}
	if forever < 20 {
		t.Errorf("%d files are kept forever", forever)
	}
	if sum > maxFirstView {
		t.Errorf("the first view takes %d bytes on the wire, want at most %d", sum, maxFirstView)
	} else {
		t.Logf("the first view takes %d bytes on the wire", sum)
	}
}

// TestPageEncodings: the bodies of all encodings are the file, each has its own tag, and a client with the current copy
// gets 304.
func TestPageEncodings(t *testing.T) {
	t.Parallel()
	p := site()
	for name := range p.files {
		plain := fetch(t, p, name)
		tags := map[string]bool{plain.Header().Get("ETag"): true}
		want := plain.Body.Bytes()
		for _, accepted := range []string{"br", "gzip", "gzip, deflate, br;q=0.9", "gzip;q=0, br;q=0", "identity", "*"} {
			w := fetch(t, p, name, "Accept-Encoding", accepted)
			if f := p.files[name]; f.encodings != nil && w.Header().Get("Content-Encoding") == "br" {
				<-f.encodings[0].done // the tag changes no more
				w = fetch(t, p, name, "Accept-Encoding", accepted)
			}
			tag, coding := w.Header().Get("ETag"), w.Header().Get("Content-Encoding")
			var body io.Reader = w.Body
			switch coding {
			case "br":
				body = brotli.NewReader(body)
			case "gzip":
				z, err := gzip.NewReader(body)
				if err != nil {
					t.Fatal(err)
				}
				body = z
			case "":
			default:
				t.Fatalf("%s: Content-Encoding %s", name, coding)
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: %d bytes, %v; want the file", name, accepted, len(got), err)
			}
			compressed := !strings.HasSuffix(name, ".png") && (accepted == "br" || strings.HasPrefix(accepted, "gzip, ") || accepted == "gzip")
			if (coding != "") != compressed || compressed && w.Header().Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s, %s: Content-Encoding %q, Vary %q", name, accepted, coding, w.Header().Get("Vary"))
			}
			if compressed && strings.HasPrefix(accepted, "gzip,") && coding != "br" {
				t.Errorf("%s, %s: Content-Encoding %q", name, accepted, coding)
			}
			tags[tag] = true
			for _, list := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
				if again := fetch(t, p, name, "Accept-Encoding", accepted, "If-None-Match", list); again.Code != http.StatusNotModified || again.Body.Len() > 0 || again.Header().Get("ETag") != tag {
					t.Errorf("%s, %s, If-None-Match %s: %d", name, accepted, list, again.Code)
				}
			}
			if again := fetch(t, p, name, "Accept-Encoding", accepted, "If-None-Match", `"x"`); again.Code != http.StatusOK {
				t.Errorf("%s with another tag: %d", name, again.Code)
			}
		}
		if want := 3; len(tags) != want && !strings.HasSuffix(name, ".png") {
			t.Errorf("%s has the tags %v, want %d", name, tags, want)
		}
	}
}

// TestPageOfAnotherVersion: a page that is still open after an upgrade is refused modules, instead of getting those of
// another version.
func TestPageOfAnotherVersion(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{"chat.html": {Data: []byte(`<script src="js/main.js">`)}, "js/main.js": {Data: []byte("old")}}
	old := newPageTree(tree)
	tree["js/main.js"] = &fstest.MapFile{Data: []byte("new")}
	now := newPageTree(tree)
	if old.hash == now.hash {
		t.Fatal("two versions have the same hash")
	}
	for name, want := range map[string]int{"_" + now.hash + "/js/main.js": 200, "_" + old.hash + "/js/main.js": 404, "_" + now.hash + "/js/none.js": 404,
		"_" + now.hash: 404, "_" + now.hash + "/": 404, "_/js/main.js": 404, "_": 404, "js/main.js": 200, "": 404} {
		w := fetch(t, now, name)
		if w.Code != want || w.Code == 404 && w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, %s; want %d", name, w.Code, w.Header().Get("Cache-Control"), want)
		}
	}
	if got := fetch(t, now, "chat.html").Body.String(); got != `<script src="_`+now.hash+`/js/main.js">` {
		t.Errorf("chat.html: %s", got)
	}
	if err := fs.WalkDir(www.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(name, hashPrefix) {
			t.Errorf("the page has a file %s, which its hash could hide", name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
