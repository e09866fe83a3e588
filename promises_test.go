package imctl_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPromisesHaveTests: each promise of docs/security.md names tests that exist.
func TestPromisesHaveTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "| Promise | Test |\n")
	if !found {
		t.Fatal("docs/security.md has no table of promises")
	}
	tests := testFunctions(t)
	name := regexp.MustCompile("`([^`]*)`")
	promises := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		switch {
		case len(cells) != 2:
			if strings.HasPrefix(line, "|") {
				t.Errorf("a row has %d cells: %s", len(cells), line)
			}
			continue
		case strings.HasPrefix(strings.TrimSpace(cells[0]), "---"):
			continue
		}
		promises++
		names := name.FindAllStringSubmatch(cells[1], -1)
		if len(names) == 0 {
			t.Errorf("the promise %q has no test", cells[0])
		}
		for _, n := range names {
			if !tests[n[1]] {
				t.Errorf("the promise %q names %s, and no such test exists", cells[0], n[1])
			}
		}
	}
	if promises < 20 {
		t.Errorf("the table has %d promises", promises)
	}
}

// testFunctions returns the names of all tests and fuzzers of the repository.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && name != "." && strings.HasPrefix(e.Name(), ".") {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz")) {
				names[fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
