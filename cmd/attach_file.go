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
)

// contextFile is where a program's way in is written. The flag --context means that file here, and not, as for other
// commands, the way to the server: --nats.context says that.
type contextFile struct {
	path  string
	force bool
	own   string // a file of this program's may be replaced
}

func (f *contextFile) addTo(c *cobra.Command, force string) {
	c.Flags().StringVar(&f.path, "context", "", contextHelp)
	c.Flags().BoolVar(&f.force, "force", false, force)
	addSettingFlags(c.Flags(), "data", "nats.url", "nats.creds", "nats.context")
}

// open returns nil where there is no file to be written.
func (f *contextFile) open(env *Env) (*privateFile, error) {
	if f.path == "" {
		return nil, nil
	}
	path := env.path(f.path)
	return createPrivate(path, f.force || f.own != "" && contextUser(path) == f.own)
}

// contextUser is whose context a file is, "" where it is none.
func contextUser(path string) string {
	var c struct{ User string }
	if b, err := os.ReadFile(path); err != nil || json.Unmarshal(b, &c) != nil {
		return ""
	}
	return c.User
}

// privateFile is written beside its place and put there when it is whole. Nobody else may read it.
type privateFile struct {
	*os.File
	path    string
	replace bool
}

// createPrivate refuses a path where there is something already, unless it may be replaced.
func createPrivate(path string, replace bool) (*privateFile, error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return nil, &failure{exitExists, fmt.Errorf("%s is there already", path), "replace it by --force"}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // made 0600
	if err != nil {
		return nil, &failure{exitFailed, err, "give another file"}
	}
	return &privateFile{f, path, replace}, nil
}

// commit puts the file into its place.
func (f *privateFile) commit() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if !f.replace {
		// Somebody may have put something there meanwhile. Without links that can't be told.
		if err := os.Link(f.Name(), f.path); err == nil || errors.Is(err, fs.ErrExist) {
			return err // what was written beside is discarded
		}
	}
	return os.Rename(f.Name(), f.path)
}

// discard removes what is left beside the place: all of a file that was not committed.
func (f *privateFile) discard() {
	if f == nil {
		return
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// path is where a file that was named on the command line is.
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

// onePage is all there is at once.
func onePage[T any](all []T) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) { yield(all, nil) }
}
