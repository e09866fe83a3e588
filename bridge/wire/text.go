package wire

import (
	"slices"
	"strings"
	"unicode"
)

// Problem returns what is wrong with the characters of a trimmed text, or "": "has control characters". It does not
// check the length.
func (f Field) Problem(s string) string {
	switch {
	case f.Kind == Verbatim:
	case strings.ContainsFunc(s, f.isControl):
		return "has control characters"
	case f.Kind != Line && f.Kind != Account && f.Kind != Name:
	case strings.ContainsAny(s, "\u2028\u2029"):
		return "has line breaks"
	case f.Kind != Line && !visible([]rune(s), f.Kind == Name):
		return "has invisible, format or bidi characters"
	}
	return ""
}

// isControl reports whether a character is a control character that the field must not have.
func (f Field) isControl(r rune) bool {
	lines := f.Kind == Lines || f.Kind == Picture
	return unicode.IsControl(r) && !(lines && (r == '\n' || r == '\r' || r == '\t'))
}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
	textStyle          = '\ufe0e' // variation selectors of emoji
	emojiStyle         = '\ufe0f'
	keycap             = '\u20e3'
	blackFlag          = '\U0001f3f4'
	firstTag           = '\U000e0020'
	endOfTags          = '\U000e007f'
)

// blanks are characters that are shown as nothing, although Unicode does not count them as ignorable.
var blanks = []rune{'\u2800', '\U00013441', '\U00013442', '\U00016fe4', '\U0001d159'}

// joining lists the scripts that need the joiners: those whose letters change their form by their neighbors.
var joining = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Mandaic, unicode.Nko, unicode.Mongolian, unicode.Phags_Pa, unicode.Adlam, unicode.Hanifi_Rohingya,
	unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada,
	unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Javanese, unicode.Balinese, unicode.Sundanese,
	unicode.Tai_Tham, unicode.Cham, unicode.Limbu, unicode.Lepcha, unicode.Meetei_Mayek, unicode.Newa, unicode.Tirhuta, unicode.Chakma,
	unicode.Grantha, unicode.Sharada, unicode.Modi, unicode.Khojki, unicode.Brahmi, unicode.Kaithi, unicode.Saurashtra,
}

// visible reports whether a text has no characters that a reader cannot see. The joiners are accepted inside a script
// that needs them, and with emoji also the invisible parts of emoji sequences.
func visible(text []rune, emoji bool) bool {
	for i := 0; i < len(text); i++ {
		switch r := text[i]; {
		case slices.Contains(blanks, r):
			return false
		case !invisible(r):
		case (r == zeroWidthJoiner || r == zeroWidthNonJoiner) && joinsLetters(text, i):
		case !emoji:
			return false
		case r == zeroWidthJoiner && i > 0 && i+1 < len(text) && partOfEmoji(text[i-1]) && partOfEmoji(text[i+1]):
		case (r == emojiStyle || r == textStyle) && i > 0 && takesStyle(text[i-1], text[i+1:]):
		case i > 0 && text[i-1] == blackFlag && r != endOfTags:
			if i = endOfFlag(text, i); i < 0 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// invisible reports whether a character is a control or format character, or ignorable by default.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// joinsLetters reports whether the joiner at i is between letters of a script that needs it. Marks that several scripts
// share may be between the letter and the joiner.
func joinsLetters(text []rune, i int) bool {
	before := i - 1
	for before >= 0 && unicode.Is(unicode.Mn, text[before]) && unicode.Is(unicode.Inherited, text[before]) {
		before--
	}
	return before >= 0 && i+1 < len(text) && slices.ContainsFunc(joining, func(script *unicode.RangeTable) bool {
		return unicode.Is(script, text[before]) && unicode.Is(script, text[i+1])
	})
}

// partOfEmoji reports whether a character may be next to the joiner in an emoji sequence.
func partOfEmoji(r rune) bool {
	// The second condition includes emoji that are newer than the tables, and skin tones.
	return unicode.Is(unicode.So, r) || 0x1f000 <= r && r <= 0x1faff || r == emojiStyle
}

// takesStyle reports whether a variation selector of emoji may follow a character, before the rest of the text.
func takesStyle(r rune, rest []rune) bool {
	if unicode.Is(unicode.Nd, r) || r == '#' || r == '*' {
		return len(rest) > 0 && rest[0] == keycap
	}
	return unicode.In(r, unicode.S, unicode.P) || partOfEmoji(r) && r != emojiStyle
}

// endOfFlag returns the index of the end of the tags that begin at i, or -1.
func endOfFlag(text []rune, i int) int {
	for ; i < len(text); i++ {
		if r := text[i]; r == endOfTags {
			return i
		} else if r < firstTag || r > endOfTags {
			return -1
		}
	}
	return -1
}
