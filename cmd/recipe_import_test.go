//go:build unix

package cmd

import (
	"strings"
	"testing"
)

// TestRecipeImport pastes the recipe with the export that ejabberd 23.01 wrote, which is in the repository: CI needs no
// ejabberd.
func TestRecipeImport(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "Import from ejabberd")
	for _, words := range []string{"dry run      nothing was written", "created      4\n", "friendships  2\n", "Bobby", `"code":200`, `"code":505`, `"password_hash":"$argon2id$`} {
		if !strings.Contains(out, words) {
			t.Errorf("the output lacks %q:\n%s", words, out)
		}
	}
}
