package kv

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"unicode"

	"go.mau.fi/util/confusable"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

const (
	lookPrefix = "look."
	// maxLooks is how many looks an account has at most.
	maxLooks = 2
)

// lookKeys returns the keys of an account's looks: of the account as it is shown, and as it is folded. Accounts that
// share a key cannot be told apart by sight. An account of invisible characters has no look.
func lookKeys(account string) []string {
	var keys []string
	for _, form := range []string{FoldAccount(account), account} {
		look := skeleton(form)
		if look == "" {
			continue
		}
		// The look of one character may be a sentence. So the key has its hash: NATS bounds the length of a subject.
		sum := sha256.Sum256([]byte(look))
		if key := lookPrefix + base64.RawURLEncoding.EncodeToString(sum[:]); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// claimKeys returns the keys that make an account unique. The first one is that of the folded account. A damaged record
// without an account has none.
func claimKeys(account string) []string {
	folded := FoldAccount(account)
	if folded == "" {
		return nil
	}
	return append([]string{accountKey(folded)}, lookKeys(account)...)
}

// ClaimKeys returns keys that two accounts share if only one of them may exist: the first one if they are the same account,
// the others if they look alike. An account without any character has none.
func ClaimKeys(account string) []string { return claimKeys(account) }

// skeleton returns the skeleton of a text as defined by UTS 39: texts that look alike have the same one. It also
// ignores the width of characters, and counts white space of any kind and length as one space, as a browser shows it.
func skeleton(s string) string {
	s = width.Fold.String(strings.Join(strings.Fields(s), " "))
	var b strings.Builder
	for _, r := range norm.NFD.String(s) {
		if isIgnorable(r) {
			continue
		}
		if like := confusable.GetReplacement(r); like != "" {
			b.WriteString(like)
		} else {
			b.WriteRune(r)
		}
	}
	return norm.NFD.String(b.String())
}

// isIgnorable reports whether a text is shown the same without the character.
func isIgnorable(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Cc, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
