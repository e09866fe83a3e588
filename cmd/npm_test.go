package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// npm runs npm ci in a copy of a directory with package.json and package-lock.json, since npm writes to the
// directory. It returns the copy, from which ../../bridge/www is a copy of the client library. If npm is missing or fails,
// the test is skipped, except in CI.
func npm(t testing.TB, source string) (dir string) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "examples", filepath.Base(source))
	err := os.CopyFS(dir, os.DirFS(source))
	if err == nil {
		err = os.CopyFS(filepath.Join(root, "bridge", "www"), os.DirFS("../bridge/www"))
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("npm ci for %s: %v (apt-get install nodejs npm)\n%s", source, err, out)
		}
		t.Skipf("npm did not bring what %s needs (%v): apt-get install nodejs npm", source, err)
	}
	return dir
}
