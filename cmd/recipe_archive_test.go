//go:build unix

package cmd

import (
	"regexp"
	"testing"
)

// TestRecipeArchive: an archive that is killed while dialogues come loses none, and has none twice.
func TestRecipeArchive(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "An archive in SQLite")
	sent := regexp.MustCompile(`"codes":\{"200":([0-9]+)\}`).FindStringSubmatch(out)
	rows := regexp.MustCompile(`(?m)^([0-9]+)\t([0-9]+)\t([0-9]+)$`).FindStringSubmatch(out)
	if sent == nil || rows == nil || sent[1] == "0" {
		t.Fatalf("no numbers:\n%s", out)
	}
	for i, n := range rows[1:] {
		if n != sent[1] {
			t.Errorf("number %d is %s, and %s dialogues were answered with 200:\n%s", i, n, sent[1], out)
		}
	}
}
