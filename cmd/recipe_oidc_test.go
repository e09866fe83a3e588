//go:build unix

package cmd

import (
	"strings"
	"testing"
)

// TestRecipeOIDC: curl signs in at the provider as a browser does.
func TestRecipeOIDC(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "Sign in with OpenID Connect")
	for _, want := range []string{`"code":200`, `"ticket":"`, "Ada Lovelace", "ada@example.org"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output has no %s:\n%s", want, out)
		}
	}
}
