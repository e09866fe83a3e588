package wire

import (
	"testing"
)

// texts maps one-line texts to the kinds of field that accept them.
var texts = []struct {
	what, text           string
	account, name, known bool
}{
	{"ASCII", "ada", true, true, true},
	{"spaces inside", "Ada L.  Byron", true, true, true},
	{"Cyrillic", "Ада", true, true, true},
	{"Han", "李明", true, true, true},
	{"combining mark", "Ada\u0301", true, true, true},
	{"emoji", "Ada 😀", true, true, true},
	{"Arabic", "عادة", true, true, true},
	{"Hebrew", "עדה", true, true, true},
	{"Hangul", "에이다", true, true, true},
	{"no-break space", "a\u00a0b", true, true, true},

	{"ZWNJ in Persian", "می\u200cخواهم", true, true, true},
	{"ZWJ in Sinhala", "ශ\u0dca\u200dරී", true, true, true},
	{"ZWNJ in Devanagari", "क\u094d\u200cष", true, true, true},
	{"ZWNJ after a vowel mark in Persian", "نامه\u064e\u200cای", true, true, true},
	{"ZWJ in Latin", "a\u200dda", false, false, true},
	{"ZWNJ in Latin", "a\u200cda", false, false, true},
	{"ZWNJ between Latin and Arabic", "a\u200cم", false, false, true},
	{"two ZWNJ in Persian", "می\u200c\u200cخواهم", false, false, true},
	{"ZWNJ at the end", "می\u200c", false, false, true},
	{"ZWNJ at the beginning", "\u200cمی", false, false, true},

	{"family", "👩\u200d👩\u200d👧", false, true, true},
	{"pilot with a skin tone", "👩🏽\u200d✈\ufe0f", false, true, true},
	{"rainbow flag", "🏳\ufe0f\u200d🌈", false, true, true},
	{"red heart", "❤\ufe0f", false, true, true},
	{"keycap", "1\ufe0f\u20e3", false, true, true},
	{"flag of Scotland", "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", false, true, true},
	{"new emoji", "\U0001fae9\u200d\U0001fae9", false, true, true},
	{"variation selector after a letter", "a\ufe0f", false, false, true},
	{"variation selector after a digit", "1\ufe0f", false, false, true},
	{"two variation selectors", "❤\ufe0f\ufe0f", false, false, true},
	{"ZWJ after an emoji", "😀\u200d", false, false, true},
	{"ZWJ before an emoji", "a\u200d😀", false, false, true},
	{"tags after a letter", "a\U000e0067\U000e007f", false, false, true},
	{"tags without an end", "🏴\U000e0067", false, false, true},
	{"end of tags without tags", "🏴\U000e007f", false, false, true},

	{"zero width space", "a\u200bda", false, false, true},
	{"word joiner", "a\u2060da", false, false, true},
	{"byte order mark", "a\ufeffda", false, false, true},
	{"soft hyphen", "a\u00adda", false, false, true},
	{"Hangul filler", "a\u3164", false, false, true},
	{"only Hangul fillers", "\u3164\u115f\uffa0", false, false, true},
	{"combining grapheme joiner", "a\u034f", false, false, true},
	{"Mongolian vowel separator", "a\u180e", false, false, true},
	{"variation selector of Han", "葛\U000e0100", false, false, true},
	{"unassigned and ignorable", "a\u2065", false, false, true},
	{"blank of Braille", "\u2800", false, false, true},
	{"musical null", "\U0001d159", false, false, true},
	{"right-to-left override", "\u202eada", false, false, true},
	{"left-to-right mark", "a\u200eda", false, false, true},
	{"isolate", "\u2066ada\u2069", false, false, true},
	{"Arabic letter mark", "a\u061cda", false, false, true},
	{"interlinear annotation", "a\ufff9b", false, false, true},

	{"line separator", "a\u2028b", false, false, true},
	{"paragraph separator", "a\u2029b", false, false, true},
	{"next line", "a\u0085b", false, false, false},
	{"line feed", "a\nb", false, false, false},
	{"NUL", "a\x00b", false, false, false},
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for _, row := range texts {
		for kind, want := range map[Kind]bool{Account: row.account, Name: row.name, Known: row.known} {
			f := Field{Name: "text", Kind: kind}
			if err := f.Problem(row.text); (err == "") != want {
				t.Errorf("%s, kind %d: got the problem %q, want it accepted: %t", row.what, kind, err, want)
			}
		}
	}
	for _, s := range []string{"a\u2028b", "a\u2029b", "a\u0085b"} {
		if f := (Field{Name: "mail"}); f.Problem(s) == "" {
			t.Errorf("%+q counts as one line", s)
		}
		if f := (Field{Name: "note", Kind: Lines}); f.Problem(s) != "" && s != "a\u0085b" {
			t.Errorf("%+q is refused in a field of lines", s)
		}
	}
	if f := (Field{Name: "note", Kind: Lines}); f.Problem("a\u200db\u202e") != "" {
		t.Error("format characters are refused in free text")
	}
}

// The login of an existing account is not refused for characters that a new account must not have.
func TestLoginOfOldAccount(t *testing.T) {
	t.Parallel()
	for _, account := range []string{"%D0%B0da", "a%E2%80%8Dda", "%E3%85%A4", "a%E2%80%A8b", "%E2%80%AEada"} {
		if q, code := ParseLogin("account=" + account + "&password=p"); code != 0 || q.Account == "" {
			t.Errorf("%s: got %+q, code %d", account, q.Account, code)
		}
	}
}

// FuzzTexts checks that a text is accepted as a name if it is accepted as an account, and as one line in both cases.
func FuzzTexts(f *testing.F) {
	for _, row := range texts {
		f.Add(row.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		accepted := func(k Kind) bool { return Field{Name: "text", Kind: k}.Problem(s) == "" }
		if accepted(Account) && !accepted(Name) || accepted(Name) && !accepted(Line) || accepted(Line) && !accepted(Known) {
			t.Errorf("%+q: account %t, name %t, line %t, known %t", s, accepted(Account), accepted(Name), accepted(Line), accepted(Known))
		}
	})
}
