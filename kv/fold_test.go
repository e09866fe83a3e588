package kv

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFoldAccount(t *testing.T) {
	t.Parallel()
	same := [][]string{
		{"john", "John", " JOHN\t", "\u00a0john\u00a0"},
		{"straße", "STRASSE", "Straße"},
		{"jürgen", "Ju\u0308rgen", "JÜRGEN"},
		{"σίσυφος", "ΣΊΣΥΦΟΣ", "Σίσυφοσ"},
		{"Å", "\u212b", "A\u030a", "å"},
		{"李明", " 李明 "},
		{"", " ", "\n"},
	}
	folded := map[string]int{}
	for i, group := range same {
		for _, s := range group {
			f := FoldAccount(s)
			if other, ok := folded[f]; ok && other != i {
				t.Errorf("%q folds like %q", s, same[other][0])
			}
			folded[f] = i
			if f != FoldAccount(group[0]) {
				t.Errorf("%q folds to %q, and %q to %q", s, f, group[0], FoldAccount(group[0]))
			}
		}
	}
	if FoldAccount("a b") == FoldAccount("ab") {
		t.Error("folding ignores white space inside an account")
	}
}

// For any text, folding a folded text does not change it, and its key is a valid subject.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"John", "Straße", "İstanbul", "\u0345", "\u1fb3", "ᾳ", "a\u0345\u0301", "\xff", " x ", "\u1e9e", "\u0130\u0307", "*.>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := FoldAccount(s)
		if twice := FoldAccount(once); twice != once {
			t.Errorf("%q folds to %q, and that to %q", s, once, twice)
		}
		if once != strings.TrimSpace(once) {
			t.Errorf("%q folds to %q", s, once)
		}
		if once == "" {
			return
		}
		key := nameKey(once, idA, 0)
		for token := range strings.SplitSeq(key, ".") {
			if token == "" || strings.ContainsAny(token, " *>\t\r\n") {
				t.Errorf("%q makes the key %q", s, key)
			}
		}
		if n, want := strings.Count(key, "."), 1+min(maxIndexed, utf8.RuneCountInString(once)); n != want {
			t.Errorf("%q makes the key %q of %d tokens, want %d", s, key, n, want)
		}
	})
}
