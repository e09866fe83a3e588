package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"imctl/embedded/privatefile"
)

// contextFile is the NATS context that a command writes for a program. For these commands the flag --context names this
// file. For other commands it names the context to connect by, which here is --nats.context.
type contextFile struct {
	path  string
	force bool
	own   string // program whose context may be replaced without force
}

func (f *contextFile) addTo(c *cobra.Command, force string) {
	c.Flags().StringVar(&f.path, "context", "", contextHelp)
	c.Flags().BoolVar(&f.force, "force", false, force)
	addSettingFlags(c.Flags(), "data", "nats.url", "nats.creds", "nats.context")
}

// open creates the file. It returns nil if the command has no --context.
func (f *contextFile) open(env *Env) (*privatefile.File, error) {
	if f.path == "" {
		return nil, nil
	}
	path := env.path(f.path)
	return createPrivate(path, f.force || f.own != "" && contextUser(path) == f.own)
}

// contextUser returns the user of a context file, "" if the file is not a context.
func contextUser(path string) string {
	var c struct{ User string }
	if b, err := os.ReadFile(path); err != nil || json.Unmarshal(b, &c) != nil {
		return ""
	}
	return c.User
}

// createPrivate creates a file that only its owner can read. It refuses an existing path unless it may replace it.
func createPrivate(path string, replace bool) (*privatefile.File, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, directoryError(path)
	}
	f, err := privatefile.Create(path, replace)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, &failure{exitExists, fmt.Errorf("%s already exists", path), "use --force to replace it"}
	case err != nil:
		return nil, &failure{exitFailed, err, "name another file"}
	}
	return f, nil
}

// path returns the path of a file that the command line names.
func (e *Env) path(name string) string {
	if e.Dir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(e.Dir, name)
}

func writeIndented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// onePage returns all items as one page.
func onePage[T any](all []T) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) { yield(all, nil) }
}
