package cmd

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCommandPages compares docs/commands with the help texts.
func TestCommandPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old.md"), []byte("# imctl old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "generate", "markdown", ".").want(t, exitDone)
	want, got := readDir(t, dir), readDir(t, filepath.Join("..", "docs", "commands"))
	for name, text := range want {
		if got[name] != text {
			t.Errorf("docs/commands/%s is not what the commands say: run imctl generate markdown docs/commands", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("docs/commands/%s is of no command", name)
		}
	}
	if len(want) < 15 || want["old.md"] != "" {
		t.Errorf("%d pages, and one of a command that does not exist: %q", len(want), want["old.md"])
	}
}

func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}
