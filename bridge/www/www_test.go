package www

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxFirst limits the bytes, before compression, of the first view: what chat.html and main.js need, and two languages.
// maxSize limits those of the first view and the signed-in page.
const maxFirst, maxSize = 115_000, 200_000

// maxLater limits the bytes of the files in laterDir, with two languages, and one of the stores of conversations.
const maxLater = 140_000

// laterDir has the modules that the page loads on first use, and their languages. follow.js is one of them, too.
const laterDir = "js/later"

func isLater(name string) bool {
	return strings.HasPrefix(name, laterDir+"/") || name == "js/client/follow.js"
}

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

// homeFiles are those of the signed-in page: home.css, and the modules that shell.js imports and main.js does not.
func homeFiles(files map[string]string) map[string]bool {
	all, first := reach(files, "js/shell.js"), reach(files, "js/main.js")
	for name := range first {
		delete(all, name)
	}
	all["home.css"] = true
	return all
}

var imported = regexp.MustCompile(`(?m)^import (?:.* from )?'([^']+)';$`)

// reach returns a module and those that it imports, directly or not.
func reach(files map[string]string, name string) map[string]bool {
	all := make(map[string]bool)
	var add func(string)
	add = func(name string) {
		if all[name] {
			return
		}
		all[name] = true
		for _, m := range imported.FindAllStringSubmatch(files[name], -1) {
			add(path.Join(path.Dir(name), m[1]))
		}
	}
	add(name)
	return all
}

func TestPageSize(t *testing.T) {
	t.Parallel()
	files := read(t)
	home := homeFiles(files)
	var first, second, later size
	for name, text := range files {
		switch {
		case name == laterDir+"/local.js" || name == WorkerFile || strings.HasPrefix(name, "icon-"):
			// A browser loads local.js or kept.js, which is larger. The others are not part of a view.
		case isLater(name):
			later.add(name, text)
		case home[name]:
			second.add(name, text)
		default:
			first.add(name, text)
		}
	}
	for _, part := range []struct {
		what      string
		size, max int
	}{
		{"the first view", first.sum + first.language, maxFirst},
		{"the signed-in page", first.sum + first.language + second.sum, maxSize},
		{"the modules of " + laterDir, later.sum + later.language, maxLater},
	} {
		if part.size > part.max {
			t.Errorf("%s has %d bytes, want at most %d", part.what, part.size, part.max)
		} else {
			t.Logf("%s has %d bytes", part.what, part.size)
		}
	}
}

// size counts what a browser loads: English, as the fallback, and the largest other language.
type size struct{ sum, language int }

func (s *size) add(name, text string) {
	if path.Base(path.Dir(name)) == "lang" && path.Base(name) != "en.js" {
		s.language = max(s.language, len(text))
	} else {
		s.sum += len(text)
	}
}

// TestClientSize keeps the client library small enough to be read: what only the page needs belongs to the page.
func TestClientSize(t *testing.T) {
	t.Parallel()
	const most = 599
	names, err := filepath.Glob("v1/js/client/*.js")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, name := range append(names, "client.js", "nats.js") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(text, []byte("\n"))
	}
	if len(names) < 5 || lines > most {
		t.Errorf("the client has %d modules and %d lines, want at most %d lines", len(names)+2, lines, most)
	}
}

// TestLaterModulesLoadAgain checks that a failed module can be loaded again: a browser may remember that an import
// failed, and load() gives it another address, but the modules that it imports statically keep theirs.
func TestLaterModulesLoadAgain(t *testing.T) {
	t.Parallel()
	files := read(t)
	loads := regexp.MustCompile(`\bload\('(\w+)'\)|\blate\('(\w+)'`)
	named := make(map[string]bool)
	for name, text := range files {
		if !strings.HasSuffix(name, ".js") {
			continue
		}
		for _, m := range imported.FindAllStringSubmatch(text, -1) {
			if imported := path.Join(path.Dir(name), m[1]); files[imported] == "" || isLater(imported) {
				t.Errorf("%s imports %s, want an existing module that is not in %s", name, imported, laterDir)
			}
		}
		for _, m := range loads.FindAllStringSubmatch(text, -1) {
			named[laterDir+"/"+m[1]+m[2]+".js"] = true
		}
	}
	for name := range named {
		if files[name] == "" {
			t.Errorf("the page loads %s, which does not exist", name)
		}
	}
	for name := range files {
		if path.Dir(name) == laterDir && !named[name] {
			t.Errorf("the page never loads %s", name)
		}
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
		if strings.HasSuffix(name, ".png") || name == "icon.svg" || name == "js/dom.js" {
			continue // the namespace of SVG is a URL that is never requested
		}
		if at := address.FindString(text); at != "" {
			t.Errorf("%s has an address of another origin: %q", name, at)
		}
	}
}

// TestModulesArePreloaded keeps the first view to one round of requests. Languages other than English take a second
// one, since only the page's code knows which to load. The modules of the signed-in page come later.
func TestModulesArePreloaded(t *testing.T) {
	t.Parallel()
	files := read(t)
	first := reach(files, "js/main.js")
	for name := range files {
		if got := strings.Contains(files["chat.html"], `"`+name+`"`); first[name] && !got {
			t.Errorf("chat.html does not preload %s", name)
		} else if got && strings.HasPrefix(name, "js/") && !first[name] && name != "js/look.js" {
			t.Errorf("chat.html loads %s, which the first view does not need", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(files["chat.html"], -1) {
		if files[m[1]] == "" {
			t.Errorf("chat.html refers to %s, which does not exist", m[1])
		}
	}
}
