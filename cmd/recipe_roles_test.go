//go:build unix

package cmd

import (
	"regexp"
	"strings"
	"testing"
)

// TestRecipeIncoming posts a text to an incoming webhook, which arrives as a dialogue.
func TestRecipeIncoming(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "Incoming webhooks")
	for _, want := range []string{"alerts (service) added", "\nok\n", `"payload":"Deployed"`} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
	if !regexp.MustCompile(`(?m)^alerts `).MatchString(out) {
		t.Errorf("ada has not become a friend of alerts:\n%s", out)
	}
}

// TestRecipeMetrics counts users and dialogues.
func TestRecipeMetrics(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "Metrics of conversations")
	for _, want := range []string{"people (reader) added", "\nchat_users 1\n", "\nchat_online_users 0\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
	if !regexp.MustCompile(`(?m)^chat_dialogues_total [1-9]`).MatchString(out) {
		t.Errorf("no dialogue is counted:\n%s", out)
	}
}
