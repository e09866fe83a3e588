package im

import (
	"strings"
	"testing"
)

func TestCodes(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		code := newResetCode()
		if len(code) != 8 || strings.Trim(code, resetAlphabet) != "" || seen[code] {
			t.Fatalf("code %q", code)
		}
		seen[code] = true
		for _, by := range []string{code, formatResetCode(code), strings.ToLower(formatResetCode(code)), " " + code[:3] + " " + code[3:] + " "} {
			if parseResetCode(by) != code {
				t.Fatalf("%q is %q", by, parseResetCode(by))
			}
		}
	}
	if len(resetAlphabet) != 32 || strings.ContainsAny(resetAlphabet, "0O1Il") {
		t.Error("the alphabet")
	}
	// Every character is as likely as another.
	count := make(map[rune]int)
	for range 4000 {
		for _, r := range newResetCode() {
			count[r]++
		}
	}
	for _, r := range resetAlphabet {
		if n := count[r]; n < 800 || n > 1200 { // 1000, give or take more than six deviations
			t.Errorf("%c came %d times", r, n)
		}
	}
}
