package cmd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// creators are the commands that may make a data directory.
var creators = map[string]bool{"imctl serve": true, "imctl restore": true, "imctl user import": true}

// reporters are the commands that report on an installation without a data directory.
var reporters = map[string]bool{"imctl doctor": true, "imctl health": true}

// TestCommandsCreateNothing runs all other commands on a directory that is missing, is empty, or has the files of others.
// Each, except reporters, exits with 5 and one line, and no file changes.
func TestCommandsCreateNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, files := range map[string][]string{"missing": nil, "empty": {}, "foreign": {"passwd", "lock"}} {
		if files == nil {
			continue
		}
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(dir, name, file), []byte("theirs"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	arguments := map[string]string{"imctl attach add": "--role bridge", "imctl check": "--dry-run", "imctl attach remove": "--yes",
		"imctl user delete": "--yes", "imctl talk purge": "--user ada --yes", "imctl talk show": "--user ada --with bob",
		"imctl webhook add": "--url https://example.org --events report", "imctl webhook remove": "--yes", "imctl webhook failed drop": "--all", "imctl webhook failed replay": "--all"}
	before := describeTree(t, dir)
	walked := 0
	for _, c := range leaves(newRoot(&Env{})) {
		path := c.CommandPath()
		if c.Flags().Lookup("data") == nil || creators[path] || path == "imctl nats config" || path == "imctl cluster add" {
			continue
		}
		walked++
		for _, name := range []string{"missing", "empty", "foreign"} {
			args := strings.Fields(path)[1:]
			for _, argument := range strings.Fields(c.Use)[1:] {
				switch {
				case argument == "EVENT":
					args = append(args, "1")
				case !strings.HasPrefix(argument, "["):
					args = append(args, "something")
				}
			}
			args = append(args, strings.Fields(arguments[path])...)
			a := command(t, dir, "password", append(args, "--data="+filepath.Join(dir, name))...)
			if reporters[path] {
				continue
			}
			if a.code != exitNoServer || !strings.Contains(a.err, "no server found") || strings.Count(a.err, "\n") != 1 || a.out != "" {
				t.Errorf("%s --data=%s: exit code %d, want %d and one line: %s%s", strings.Join(args, " "), name, a.code, exitNoServer, a.out, a.err)
			}
		}
		if after := describeTree(t, dir); after != before {
			t.Fatalf("%s changed files: %s", path, after)
		}
	}
	if walked < 20 {
		t.Errorf("only %d commands have the flag --data", walked)
	}
	command(t, dir, "", "cluster", "add", "im4", "127.0.0.1:1", "--data", "missing").want(t, exitNoServer, "no server found")
	for _, args := range [][]string{{"serve"}, {"user", "import"}, {"bench", "populate"}, {"restore", "--complete"}} {
		command(t, dir, "password", append(args, "--data", "foreign")...).want(t, exitUse, "foreign has other files, such as passwd; name an empty directory with --data")
	}
	if after := describeTree(t, dir); after != before {
		t.Errorf("the files of others changed: %s", after)
	}
}

// describeTree returns the names, sizes, modes and times of all files below a directory.
func describeTree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && path != root { // a command makes its output file there, and removes it
			b.WriteString(path + " " + fs.FormatFileInfo(info) + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
