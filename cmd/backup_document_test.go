//go:build unix

package cmd

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestBackupDocument runs the example of encryption in the documentation, with the program age.
func TestBackupDocument(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"age", "age-keygen"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("the example needs %s: %v", name, err)
			}
			t.Skipf("the example needs %s: %v", name, err)
		}
	}
	text := string(readIn(t, "../docs", "backup.md"))
	_, text, _ = strings.Cut(text, "## Encryption\n")
	_, text, _ = strings.Cut(text, "```sh\n")
	script, _, ok := strings.Cut(text, "```\n")
	if !ok || !strings.Contains(script, "age --decrypt") {
		t.Fatalf("no example in docs/backup.md: %q", script)
	}
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	people := exportedLines(t, dir)
	c := exec.Command("sh", "-e", "-c", script)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil || strings.Count(string(out), "backup    OK\n") != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	wantUsers(t, exportedLines(t, dir, "--data", "new"), people)
}
