package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestManPages: each command that the help shows has a manual page, and each setting is in that of config.yaml. The same
// date makes the same pages.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir, again := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, again} {
		env := &Env{Out: new(bytes.Buffer), Err: new(bytes.Buffer), Environ: []string{"SOURCE_DATE_EPOCH=1767323045"}}
		if code := Run(t.Context(), env, []string{"generate", "man", d}); code != exitDone {
			t.Fatalf("exit code %d: %s", code, env.Err)
		}
	}
	want := []string{"man5/imctl-config.5"}
	var walk func(c *cobra.Command, name string)
	walk = func(c *cobra.Command, name string) {
		want = append(want, "man1/"+name+".1")
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				walk(sub, name+"-"+sub.Name())
			}
		}
	}
	walk(newRoot(&Env{}), "imctl")
	slices.Sort(want)
	got, err := filepath.Glob(filepath.Join(dir, "man?", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range got {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		got[i] = filepath.ToSlash(rel)
		if second, err := os.ReadFile(filepath.Join(again, rel)); err != nil || !bytes.Equal(page, second) {
			t.Errorf("%s differs with the same date: %v", rel, err)
		}
		if !strings.Contains(string(page), `"Jan 2026"`) {
			t.Errorf("%s does not have the date of SOURCE_DATE_EPOCH: %.200s", rel, page)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages are %q\nwant %q", got, want)
	}
	settings, err := os.ReadFile(filepath.Join(dir, "man5", "imctl-config.5"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Defaults().settings() {
		if !strings.Contains(string(settings), strings.ReplaceAll(s.key, "_", `\_`)) && !strings.Contains(string(settings), s.key) {
			t.Errorf("imctl-config(5) does not have %s", s.key)
		}
	}
}

// TestManDate: a bad SOURCE_DATE_EPOCH is a usage error.
func TestManDate(t *testing.T) {
	t.Parallel()
	var errs bytes.Buffer
	env := &Env{Out: new(bytes.Buffer), Err: &errs, Environ: []string{"SOURCE_DATE_EPOCH=today"}}
	if code := Run(t.Context(), env, []string{"generate", "man", t.TempDir()}); code != exitUse || !strings.Contains(errs.String(), `"today"`) {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
