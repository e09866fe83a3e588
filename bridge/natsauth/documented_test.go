package natsauth_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocumentedRoles checks that docs/consumers.md documents the permissions that TestRoles tests.
func TestDocumentedRoles(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/consumers.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| | Subject | " + strings.Join(roles, " | ") + " |\n" + strings.Repeat("| --- ", len(roles)+2) + "|\n")
	row := func(verb, subject, may string) {
		fmt.Fprintf(&table, "| %s | `%s` |", verb, subject)
		for _, role := range roles {
			word := "refused"
			for _, r := range strings.Fields(may) {
				if r == role {
					word = "may"
				}
			}
			fmt.Fprintf(&table, " %s |", word)
		}
		table.WriteString("\n")
	}
	for _, r := range mayPublish {
		row("publish", r.subject, r.roles)
	}
	for _, r := range maySubscribe {
		row("subscribe", r.subject, r.roles)
	}
	if !strings.Contains(string(text), table.String()) {
		t.Errorf("docs/consumers.md does not have this table:\n%s", table.String())
	}
}
