package www

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

// maxSize limits the bytes, before compression, that a browser loads: all files except the other languages, and
// except the modules that only some visitors load.
const maxSize = 100_000

// maxLater limits the bytes of such a module.
const maxLater = 5_000

// later are the modules that the page loads when a visitor needs them.
var later = map[string]bool{"js/invite.js": true}

func read(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(FS(), name)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPageSize(t *testing.T) {
	t.Parallel()
	sum, largest := 0, 0
	for name, text := range read(t) {
		// A browser loads English, as the fallback, and one more language.
		if path.Dir(name) == languageDir && name != languageFile("en") {
			largest = max(largest, len(text))
		} else if !later[name] {
			sum += len(text)
		} else if len(text) > maxLater {
			t.Errorf("%s has %d bytes, want at most %d", name, len(text), maxLater)
		}
	}
	if sum += largest; sum > maxSize {
		t.Errorf("the page loads %d bytes, want at most %d", sum, maxSize)
	}
}

// TestPageFollowsContentPolicy checks that the page has nothing that the content policy blocks, no address of another
// origin, and no function that parses text as markup.
func TestPageFollowsContentPolicy(t *testing.T) {
	t.Parallel()
	files := read(t)
	if len(files) < 10 || files["chat.html"] == "" {
		t.Fatalf("the page is incomplete: %d files", len(files))
	}
	address := regexp.MustCompile(`(?:https?|wss?)://[a-z0-9]`)
	inline := regexp.MustCompile(`<script>|<style|\son[a-z]+=|\sstyle=|javascript:`)
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('style'`)
	comment := regexp.MustCompile(`(?m)^\s*(//|/\*\*?|\*).*$|\s// .*$`)
	for name, text := range files {
		switch {
		case strings.HasSuffix(name, ".html"):
			if at := inline.FindString(text); at != "" {
				t.Errorf("%s has %q, which the content policy blocks", name, at)
			}
		case strings.HasSuffix(name, ".js"):
			text = comment.ReplaceAllString(text, "")
			if at := markup.FindString(text); at != "" {
				t.Errorf("%s uses %s, which parses text as markup", name, at)
			}
		}
		if name == "icon.png" || name == "icon.svg" || name == "js/dom.js" {
			continue // the namespace of SVG is a URL that is never requested
		}
		if at := address.FindString(text); at != "" {
			t.Errorf("%s has an address of another origin: %q", name, at)
		}
	}
}

// TestModulesArePreloaded keeps the first view to one round of requests. Languages other than English take a second
// one, since only the page's code knows which to load.
func TestModulesArePreloaded(t *testing.T) {
	t.Parallel()
	files := read(t)
	for name := range files {
		preloaded := strings.HasPrefix(name, "js/") && path.Dir(name) != languageDir && !later[name] || name == languageFile("en")
		if got := strings.Contains(files["chat.html"], `"`+name+`"`); preloaded && !got {
			t.Errorf("chat.html does not preload %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(files["chat.html"], -1) {
		if files[m[1]] == "" {
			t.Errorf("chat.html refers to %s, which does not exist", m[1])
		}
	}
}
