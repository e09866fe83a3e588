package www

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imctl/bridge/wire"
)

const languageDir = "js/lang"

// languageDirs are the languages of the start, and those of the modules that the page loads on first use.
var languageDirs = []string{languageDir, laterDir + "/lang"}

func languageFile(name string) string { return path.Join(languageDir, name+".js") }

// entry is a line of a language file: its key and its text.
var entry = regexp.MustCompile(`^\t(\w+): '([^'\\]+)',$`)

// language is a parsed language file.
type language struct {
	keys  []string // in the order of the file
	texts map[string]string
}

func parseLanguage(t *testing.T, file string) language {
	t.Helper()
	_, body, found := strings.Cut(file, "export default {\n")
	body, rest, closed := strings.Cut(body, "};\n")
	if !found || !closed || rest != "" {
		t.Fatalf("want a comment and one object as the default export, got:\n%s", file)
	}
	l := language{texts: make(map[string]string)}
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		m := entry.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("line %q: want a tab, key: 'text', and a comma", line)
			continue
		}
		if _, dup := l.texts[m[1]]; dup {
			t.Errorf("duplicate key %s", m[1])
		}
		l.keys, l.texts[m[1]] = append(l.keys, m[1]), m[2]
	}
	return l
}

// listedLanguages returns the LANGUAGES of words.js.
func listedLanguages(t *testing.T, words string) []string {
	t.Helper()
	m := regexp.MustCompile(`const LANGUAGES = \[('\w+'(?:, '\w+')*)\];`).FindStringSubmatch(words)
	if m == nil {
		t.Fatal("words.js has no LANGUAGES")
	}
	return strings.Split(strings.ReplaceAll(m[1], "'", ""), ", ")
}

// TestLanguagesAreListed checks that LANGUAGES and the files in js/lang are the same.
func TestLanguagesAreListed(t *testing.T) {
	t.Parallel()
	files := read(t)
	listed := listedLanguages(t, files["js/words.js"])
	for _, dir := range languageDirs {
		for _, name := range listed {
			if file := path.Join(dir, name+".js"); files[file] == "" {
				t.Errorf("%s is in LANGUAGES, but %s does not exist", name, file)
			}
		}
		for name := range files {
			if tag := strings.TrimSuffix(path.Base(name), ".js"); path.Dir(name) == dir && !slices.Contains(listed, tag) {
				t.Errorf("%s exists, but LANGUAGES has no %s", name, tag)
			}
		}
	}
}

// TestLanguagesHaveTheSameKeys checks that every language has the keys of English, in the same order, with the same
// placeholders in their texts.
func TestLanguagesHaveTheSameKeys(t *testing.T) {
	t.Parallel()
	files := read(t)
	for dir, least := range map[string]int{languageDirs[0]: 100, languageDirs[1]: 50} {
		english := parseLanguage(t, files[path.Join(dir, "en.js")])
		if len(english.keys) < least {
			t.Fatalf("%s: English has %d keys, want at least %d", dir, len(english.keys), least)
		}
		for _, name := range listedLanguages(t, files["js/words.js"]) {
			file := path.Join(dir, name+".js")
			t.Run(file, func(t *testing.T) { compareLanguage(t, parseLanguage(t, files[file]), english) })
		}
	}
}

func compareLanguage(t *testing.T, l, english language) {
	t.Helper()
	placeholder := regexp.MustCompile(`\{\w+\}`)
	sorted := func(text string) []string { return slices.Sorted(slices.Values(placeholder.FindAllString(text, -1))) }
	for _, key := range english.keys {
		if _, ok := l.texts[key]; !ok {
			t.Errorf("key %s is missing", key)
		}
	}
	for _, key := range l.keys {
		if _, ok := english.texts[key]; !ok {
			t.Errorf("key %s is not in English", key)
		} else if got, want := sorted(l.texts[key]), sorted(english.texts[key]); !slices.Equal(got, want) {
			t.Errorf("%s: placeholders %v, want %v", key, got, want)
		}
	}
	if !t.Failed() && !slices.Equal(l.keys, english.keys) {
		t.Error("the keys are not in the order of English")
	}
}

// TestLanguageKeysAreUsed checks that the code uses every key: as a string, as a property, or as a message for a code.
// Only modules of laterDir use the keys of its languages, which are missing at the start.
func TestLanguageKeysAreUsed(t *testing.T) {
	t.Parallel()
	files := read(t)
	var first, later strings.Builder
	for name, text := range files {
		switch path.Dir(name) {
		case "js":
			first.WriteString(text)
		case laterDir:
			later.WriteString(text)
		}
	}
	english := parseLanguage(t, files[languageFile("en")])
	number := regexp.MustCompile(`^code(\d+)$`)
	for _, key := range english.keys {
		if m := number.FindStringSubmatch(key); m != nil { // composed by tCode
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			if wire.Code(n).Message() == "" && !strings.Contains(files["js/client/codes.js"], ": "+m[1]+",") {
				t.Errorf("key %s: neither the protocol nor the page has this code", key)
			}
		} else if !uses(first.String(), key) {
			t.Errorf("key %s is not used at the start", key)
		}
	}
	for _, key := range parseLanguage(t, files[path.Join(languageDirs[1], "en.js")]).keys {
		if _, ok := english.texts[key]; ok {
			t.Errorf("key %s is in both files of English", key)
		}
		if !uses(later.String(), key) {
			t.Errorf("key %s is not used in %s", key, laterDir)
		}
		if at := regexp.MustCompile(`\b(?:t|field|button|open|tell|confirmDialog)\('` + key + `'`).FindString(first.String()); at != "" {
			t.Errorf("the start uses a key of %s: %s", laterDir, at)
		}
	}
}

func uses(code, key string) bool {
	base := strings.TrimSuffix(key, "Question") // added by confirmDialog
	return regexp.MustCompile(`'` + base + `'|\b` + base + `: `).MatchString(code)
}
