//go:build unix

package cmd

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// checkout is a copy of the repository, without its history and tests. All tests that paste blocks of documents share
// one, because Go compiles the packages of each directory anew.
type checkout struct {
	dir    string
	binary string            // imctl, built from dir
	files  map[string]string // in dir, as treeFiles returns them
}

// makeCheckout makes the checkout and builds its binary at the first call.
var makeCheckout = sync.OnceValues(func() (c checkout, err error) {
	root, err := sharedDirectory()
	if err != nil {
		return c, err
	}
	c = checkout{dir: filepath.Join(root, "imctl"), binary: filepath.Join(root, "built", "imctl")}
	all, err := treeFiles("..")
	if err != nil {
		return c, err
	}
	for path := range all {
		if !strings.HasSuffix(path, "_test.go") {
			if err := copyFile(filepath.Join(c.dir, path), filepath.Join("..", path), 0o644); err != nil {
				return c, err
			}
		}
	}
	build := exec.Command("go", "build", "-o", c.binary, "./cmd/imctl")
	build.Dir = c.dir
	if out, err := build.CombinedOutput(); err != nil {
		return c, fmt.Errorf("go build: %w\n%s", err, out)
	}
	c.files, err = treeFiles(c.dir)
	return c, err
})

func checkedOut(t *testing.T) checkout {
	t.Helper()
	c, err := makeCheckout()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// binaryIn puts the binary where the documents build it. The go command leaves it alone while it is up to date.
func (c checkout) binaryIn(home string) error {
	return copyFile(filepath.Join(home, "imctl", "imctl"), c.binary, 0o755)
}

// pasteInCheckout runs lines in the checkout with a home directory, and returns their output. It fails if a line fails,
// or changes the checkout.
func pasteInCheckout(t *testing.T, home, lines string, env ...string) string {
	t.Helper()
	c := checkedOut(t)
	out, err := paste(t, c.dir, home, lines, env...)
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	after, err := treeFiles(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(c.files, after) {
		maps.DeleteFunc(after, func(path, state string) bool { return c.files[path] == state })
		t.Errorf("the blocks, or those of a test at the same time, change the repository: %q", after)
	}
	return out
}

// copyFile copies a file, and makes the directories above the copy.
func copyFile(to, from string, mode os.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, mode)
}

// treeFiles returns the size and time of each file of a repository, by its path, without the history and what tools
// have added.
func treeFiles(root string) (map[string]string, error) {
	all := make(map[string]string)
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Name() == ".git" || e.Name() == "node_modules":
			if e.IsDir() {
				return fs.SkipDir
			}
		case e.Type().IsRegular():
			info, err := e.Info()
			if err != nil {
				return err
			}
			all[path] = fmt.Sprint(info.Size(), " ", info.ModTime())
		}
		return nil
	})
	return all, err
}
