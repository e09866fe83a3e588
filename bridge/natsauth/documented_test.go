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
	fmt.Fprintf(&table, "The roles are %s.\n\n| | Subject | Roles that may |\n| --- | --- | --- |\n", strings.Join(roles, ", "))
	row := func(verb, subject, may string) {
		if may == "" {
			may = "none"
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", verb, subject, strings.Join(strings.Fields(may), ", "))
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
