//go:build unix

package cmd

import (
	"strings"
	"testing"
)

// TestRecipeGateway joins imctl and a stand-in for a Matrix homeserver.
func TestRecipeGateway(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "A gateway to another network")
	for _, want := range []string{"!r:localhost @imctl_echo:localhost: Hello from Matrix", "enabled, gateway matrix"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output:\n%s", want, out)
		}
	}
}
