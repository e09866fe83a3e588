//go:build unix

package cmd

import (
	"strings"
	"testing"
)

// TestRecipeModeration pastes the recipe, in which a moderator first replaces a word and then refuses it.
func TestRecipeModeration(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "Moderation by a word list", "node", "go")
	for _, want := range []string{`"payload":"A purple ******!"`, `ada receives {"code":200,`, `ada receives {"code":512,`, `{"code":403,`} {
		if !strings.Contains(out, want) {
			t.Errorf("the recipe does not print %s:\n%s", want, out)
		}
	}
	if strings.Count(out, "ben receives") != 1 || strings.Contains(out, "Teapot") {
		t.Errorf("the friend saw a dialogue that was refused:\n%s", out)
	}
}
