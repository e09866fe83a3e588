package cmd

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// markdown returns the Markdown files of the repository, by their path.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "node_modules" || e.Name() == "testdata" || e.Name() == ".git" || e.Name() == "dist"):
			return fs.SkipDir
		case path.Ext(name) == ".md":
			text, err := os.ReadFile(filepath.Join("..", name))
			pages[name] = string(text)
			return err
		}
		return nil
	})
	if err != nil || len(pages) < 12 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	return pages
}

var (
	fenced      = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	headings    = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	inlineLinks = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	htmlLinks   = regexp.MustCompile(`(?:href|src)="([^"]+)"`)
	substituted = regexp.MustCompile(`"\$\([^()]*\)"`)
	codeSpans   = regexp.MustCompile("`([^`]+)`")
)

// slug returns the anchor that GitHub gives a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// TestDocumentLinks checks the links between the documents, with their anchors.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	pages := markdown(t)
	anchors := make(map[string][]string)
	for name, text := range pages {
		for _, h := range headings.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			anchors[name] = append(anchors[name], slug(h[1]))
		}
	}
	checked := 0
	for name, text := range pages {
		text = fenced.ReplaceAllString(text, "")
		for _, link := range append(inlineLinks.FindAllStringSubmatch(text, -1), htmlLinks.FindAllStringSubmatch(text, -1)...) {
			target, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(target, ":") {
				continue // another site
			}
			checked++
			file := name
			if target != "" {
				file = path.Join(path.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: link to %s: %v", name, link[1], err)
			} else if anchor != "" && !slices.Contains(anchors[file], anchor) {
				t.Errorf("%s: link to %s: no such heading", name, link[1])
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d links found", checked)
	}
}

// TestDocumentLines checks that no line of prose is much longer than 120 columns, so that a diff shows what has changed.
func TestDocumentLines(t *testing.T) {
	t.Parallel()
	for name, text := range markdown(t) {
		for line := range strings.Lines(fenced.ReplaceAllString(text, "")) {
			line = strings.TrimRight(line, "\n")
			prose := !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "#") && !strings.Contains(line, "<img")
			if n := columns(line); prose && n > 128 {
				t.Errorf("%s: a line has %d columns: %s", name, n, line)
			}
		}
	}
}

// TestDocumentSettings checks that every setting that a document names exists.
func TestDocumentSettings(t *testing.T) {
	t.Parallel()
	keys, sections := make(map[string]bool), make(map[string]bool)
	for _, s := range Defaults().settings() {
		for key := s.key; ; {
			keys[key] = true
			i := strings.LastIndexByte(key, '.')
			if i < 0 {
				break
			}
			key = key[:i]
			sections[key] = true
		}
	}
	found := 0
	for name, text := range markdown(t) {
		if name == "CHANGELOG.md" {
			continue // it names what was removed
		}
		for _, span := range codeSpans.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			key, _, _ := strings.Cut(span[1], ":")
			section, rest, ok := strings.Cut(key, ".")
			if !ok || !sections[section] || section == "admin" && strings.Count(key, ".") > 1 || key == "backup.scheduled" || // an event of the audit trail, a record
				strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz_.") != "" || slices.Contains(notKeys, path.Ext(key)) || strings.HasSuffix(rest, ".") {
				continue
			}
			if found++; !keys[key] {
				t.Errorf("%s: there is no setting %s", name, key)
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d settings found", found)
	}
}

// notKeys are the extensions of files and domains that look like settings, and the names of subjects and events.
var notKeys = []string{".go", ".json", ".yaml", ".md", ".conf", ".js", ".mjs", ".log", ".sock"}

// TestDocumentCommands checks that every command line of imctl in a document has a command and flags that exist.
func TestDocumentCommands(t *testing.T) {
	t.Parallel()
	root := newRoot(&Env{})
	found := 0
	for name, text := range markdown(t) {
		if name == "CHANGELOG.md" {
			continue
		}
		for _, line := range commandLines(text) {
			found++
			if problem := unknownIn(root, line); problem != "" {
				t.Errorf("%s: imctl %s: there is no %s", name, strings.Join(line, " "), problem)
			}
		}
	}
	if found < 150 {
		t.Errorf("only %d command lines found", found)
	}
	for line, problem := range map[string]string{"user list --nope": "user list --nope", "user nope": "user nope", "user list -o json": "", "serve": "",
		"user list --limit 3 | jq .": "", "nope": "nope", "user create ada": "", "serve --nats.url=x": ""} {
		if got := unknownIn(root, strings.Fields(line)); got != problem {
			t.Errorf("%s: %q, want %q", line, got, problem)
		}
	}
}

// commandLines returns the words after imctl in the code of a page.
func commandLines(text string) (lines [][]string) {
	var code []string
	for _, block := range fenced.FindAllString(text, -1) {
		code = append(code, strings.Split(strings.ReplaceAll(block, "\\\n", " "), "\n")...)
	}
	for line := range strings.Lines(fenced.ReplaceAllString(text, "")) {
		if strings.HasPrefix(line, "    ") {
			code = append(code, line)
		}
	}
	for _, span := range codeSpans.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if strings.HasPrefix(span[1], "imctl ") {
			code = append(code, strings.ReplaceAll(span[1], "\n", " "))
		}
	}
	for _, line := range code {
		line, _, _ = strings.Cut(line, " #")
		line = substituted.ReplaceAllString(line, "OUTPUT")
		words := strings.Fields(line)
		for i, word := range words {
			if word != "imctl" && !strings.HasSuffix(word, "(imctl") || i+1 == len(words) || !commandBegins(words[:i]) {
				continue
			}
			if words[i+1] == "imctl" {
				continue // the name of a container or user
			}
			lines = append(lines, words[i+1:])
		}
	}
	return lines
}

// commandBegins reports whether a command begins after these words of a line.
func commandBegins(before []string) bool {
	if len(before) == 0 {
		return true
	}
	last := before[len(before)-1]
	return slices.Contains([]string{"|", "&&", "||", "$", "sudo", "old", "exec", "imctl"}, last) || strings.Contains(last, "=")
}

// substitution matches what a shell replaces by the output of a command.
var substitution = regexp.MustCompile(`\$\([^()]*\)`)

// unknownIn returns the command or the flag in the words of a command line that does not exist, "" if all do.
func unknownIn(root *cobra.Command, words []string) string {
	words = strings.Fields(substitution.ReplaceAllString(strings.Join(words, " "), "VALUE"))
	for i, word := range words {
		if strings.ContainsAny(word, "|>&;") || word == "<" {
			words = words[:i]
			break
		}
	}
	c, path := root, []string{}
	for _, word := range words {
		if strings.HasPrefix(word, "[") {
			continue // optional
		}
		word = strings.Trim(word, "'\".,:)]")
		if name, ok := strings.CutPrefix(word, "-"); ok {
			name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
			c.InitDefaultHelpFlag()
			var flag *pflag.Flag
			if len(name) == 1 {
				flag = c.Flags().ShorthandLookup(name)
			} else {
				flag = c.Flags().Lookup(name)
			}
			if flag == nil && name != "" && name != "version" {
				return strings.Join(append(path, "--"+name), " ")
			}
			continue
		}
		if !c.HasSubCommands() || word == "" || word == "…" || word == "help" {
			continue
		}
		sub, _, err := c.Find([]string{word})
		if err != nil || sub == c {
			if strings.ToUpper(word) == word {
				continue // COMMAND
			}
			return strings.Join(append(path, word), " ")
		}
		c, path = sub, append(path, word)
	}
	return ""
}
