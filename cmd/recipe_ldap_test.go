//go:build unix

package cmd

import (
	"strings"
	"testing"
)

// TestRecipeLDAP: users log in with the passwords of an LDAP directory.
func TestRecipeLDAP(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "Users of an LDAP directory", "/usr/sbin/slapd")
	for _, want := range []string{`"code":200`, `"ticket":"`, `"code":505`, "Ada Lovelace", "ada@example.org"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output has no %s:\n%s", want, out)
		}
	}
}
