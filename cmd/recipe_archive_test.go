//go:build unix

package cmd

import (
	"regexp"
	"strconv"
	"testing"
)

// TestRecipeArchive: an archive that is killed while dialogues come loses none, and has none twice.
func TestRecipeArchive(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "An archive in SQLite")
	sent := regexp.MustCompile(`"codes":\{.*"200":([0-9]+)`).FindStringSubmatch(out)
	rows := regexp.MustCompile(`(?m)^([0-9]+)\t([0-9]+)\t([0-9]+)$`).FindStringSubmatch(out)
	if sent == nil || rows == nil {
		t.Fatalf("no numbers:\n%s", out)
	}
	answered, err := strconv.Atoi(sent[1])
	if err != nil {
		t.Fatal(err)
	}
	count, err := strconv.Atoi(rows[1])
	if err != nil {
		t.Fatal(err)
	}
	// A dialogue that was answered with another code may be in the log too.
	if answered == 0 || count < answered || rows[2] != rows[1] || rows[3] != rows[1] {
		t.Errorf("%d dialogues were answered with 200, and the rows are %s:\n%s", answered, rows[0], out)
	}
}
