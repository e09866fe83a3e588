package www

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// maxSize is what the page may weigh before compression, all its files together.
const maxSize = 100_000

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

func TestPageIsLight(t *testing.T) {
	t.Parallel()
	sum := 0
	for _, text := range read(t) {
		sum += len(text)
	}
	t.Logf("%d bytes", sum)
	if sum > maxSize {
		t.Errorf("the page weighs %d bytes, more than %d", sum, maxSize)
	}
}

// TestPageKeepsToItself looks for what a strict content policy would block, and for what would make markup of text.
func TestPageKeepsToItself(t *testing.T) {
	t.Parallel()
	files := read(t)
	if len(files) < 10 || files["chat.html"] == "" {
		t.Fatalf("the page is not there: %d files", len(files))
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
				t.Errorf("%s uses %s: text has to stay text", name, at)
			}
		}
		if name == "icon.png" || name == "icon.svg" || name == "js/dom.js" {
			continue // the name of SVG's vocabulary is an address, and nobody asks for it
		}
		if at := address.FindString(text); at != "" {
			t.Errorf("%s names another origin: %q", name, at)
		}
	}
}

// TestModulesArePreloaded keeps the first view to one round of requests.
func TestModulesArePreloaded(t *testing.T) {
	t.Parallel()
	files := read(t)
	for name := range files {
		if strings.HasPrefix(name, "js/") && !strings.Contains(files["chat.html"], `"`+name+`"`) {
			t.Errorf("chat.html does not load %s ahead", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(files["chat.html"], -1) {
		if files[m[1]] == "" {
			t.Errorf("chat.html asks for %s, which is not there", m[1])
		}
	}
}

// TestWordsAreWhole wants every word in every language, and every word used.
func TestWordsAreWhole(t *testing.T) {
	t.Parallel()
	files := read(t)
	_, table, _ := strings.Cut(files["js/words.js"], "const WORDS = `\n")
	table, _, ok := strings.Cut(table, "`")
	if !ok {
		t.Fatal("no table of words")
	}
	var code strings.Builder
	for name, text := range files {
		if strings.HasSuffix(name, ".js") && name != "js/words.js" {
			code.WriteString(text)
		}
	}
	_, after, _ := strings.Cut(files["js/words.js"], "split('|')")
	code.WriteString(after)
	placeholder := regexp.MustCompile(`\{\w+\}`)
	rows := 0
	for row := range strings.Lines(table) {
		row = strings.TrimSuffix(row, "\n")
		if row == "" {
			continue
		}
		rows++
		cells := strings.Split(row, "|")
		if len(cells) != 4 {
			t.Errorf("%q has %d cells, not 4", row, len(cells))
			continue
		}
		for _, cell := range cells[1:] {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("%s lacks a language", cells[0])
			}
			if got, want := placeholder.FindAllString(cell, -1), placeholder.FindAllString(cells[1], -1); len(got) != len(want) {
				t.Errorf("%s: %q has other places to fill than %q", cells[0], cell, cells[1])
			}
		}
		key := strings.TrimSuffix(cells[0], "Question")
		if !strings.Contains(code.String(), "'"+key+"'") && !strings.HasPrefix(key, "code") && !regexp.MustCompile(`\b`+key+`\b`).MatchString(code.String()) {
			t.Errorf("nobody says %q", cells[0])
		}
	}
	if rows < 100 {
		t.Errorf("only %d words", rows)
	}
}
