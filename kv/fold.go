package kv

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxIndexed is how many characters of a folded name become tokens of its key. It bounds the length of the subject.
// Names that differ only after these characters are distinguished by their records.
const maxIndexed = 64

// FoldAccount returns the form in which accounts and names are compared: without white space at both ends, in Unicode
// NFC, and with case folded. Folding a folded text does not change it.
func FoldAccount(s string) string {
	return strings.Map(foldCherokee, foldOf1(s))
}

// foldOf1 is FoldAccount of formats 0 and 1, which left the case of Cherokee.
func foldOf1(s string) string {
	// A Caser may have state, so each call creates one. With a few Greek and Latin letters, folding undoes the normal
	// form, and the normal form allows further folding. After two rounds no letter changes.
	fold := cases.Fold()
	s = strings.TrimSpace(s)
	for range 2 {
		s = norm.NFC.String(fold.String(norm.NFD.String(s)))
	}
	return strings.TrimSpace(s)
}

// foldCherokee folds a letter of Cherokee, whose lowercase letters Unicode folds to the older uppercase ones. A Caser
// swaps the two.
func foldCherokee(r rune) rune {
	switch {
	case 0x13f8 <= r && r <= 0x13fd:
		return r - 0x13f8 + 0x13f0
	case 0xab70 <= r && r <= 0xabbf:
		return r - 0xab70 + 0x13a0
	}
	return r
}

// encode returns a token of a key for any text.
func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// nameTokens returns one token for each character of a folded name, joined by dots. So the beginning of a name is the
// beginning of its key, and a subject filter finds it.
func nameTokens(folded string) string {
	var b strings.Builder
	n := 0
	for _, r := range folded {
		if n++; n > maxIndexed {
			break
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		var char [utf8.UTFMax]byte
		b.WriteString(base64.RawURLEncoding.EncodeToString(char[:utf8.EncodeRune(char[:], r)]))
	}
	return b.String()
}
