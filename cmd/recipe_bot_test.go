//go:build unix

package cmd

import (
	"strings"
	"testing"
)

// TestRecipeBot pastes the recipe, in which two bots answer a dialogue that was sent before they ran.
func TestRecipeBot(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "10. A bot", "node", "npm", "go")
	for _, want := range []string{"stored {", "code: 202", "ada reads JavaScript: Are you there?\n", "ada reads Go: Are you there?\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the recipe does not print %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "ada reads"); n != 2 {
		t.Errorf("Ada reads %d answers, want 2:\n%s", n, out)
	}
}
