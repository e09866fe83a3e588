package kv

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxIndexed is how many characters of a folded name become tokens of its key. It bounds the
// subject; names that agree beyond it are told apart by their records.
const maxIndexed = 64

// FoldAccount returns the form in which accounts and names are compared: white space at the ends
// trimmed, Unicode NFC, case folded. Folding what is folded changes nothing.
func FoldAccount(s string) string {
	// A Caser may hold state, so it is made for each call. Folding can undo the normal form and
	// the normal form can enable more folding, in a handful of Greek and Latin letters; two
	// rounds settle all of them.
	fold := cases.Fold()
	s = strings.TrimSpace(s)
	for range 2 {
		s = norm.NFC.String(fold.String(norm.NFD.String(s)))
	}
	return strings.TrimSpace(s)
}

// encode makes a key's token of any text.
func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// nameTokens returns one token for each character of a folded name, joined by dots: so a
// beginning of a name is a beginning of its key, and NATS finds it by a subject filter.
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
