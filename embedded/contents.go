package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"
)

// ErrDirForeign means that a directory has files, but none of a server. A server does not start there.
var ErrDirForeign = errors.New("not a data directory")

// ErrNoServerFiles means that no server has run in a directory.
var ErrNoServerFiles = errors.New("no server has run in this data directory")

// markers are files of which each data directory in use has at least one.
var markers = []string{modeFile, requiredFile, "node.json"}

// harmless are the names that may be in a new data directory: those of the program, of which an interrupted start or
// restore leaves some, and those that file systems, file managers and version control make.
var harmless = []string{
	lockFile, socketFile, adminFile, systemFile, nodeFile, "jetstream", "reserve", "tls", "keys", "restore", "restore.json",
	"lost+found", ".snapshot", ".DS_Store", ".gitkeep", ".gitignore", "System Volume Information", "$RECYCLE.BIN",
}

// CheckDir returns ErrDirForeign if path is a directory with files, and none of a server. The message names one of them.
// A missing directory is no error.
func CheckDir(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil && isFile(path):
		return errIsFile(path)
	case err != nil:
		return explain(path, "read", err)
	}
	foreign := ""
	for _, e := range entries {
		switch name := e.Name(); {
		case slices.Contains(markers, name):
			return nil
		case foreign == "" && !slices.Contains(harmless, name) && !isTemporary(name):
			foreign = name
		}
	}
	if foreign != "" {
		return fmt.Errorf("%w: %s has other files, such as %s", ErrDirForeign, path, foreign)
	}
	return nil
}

// isTemporary reports whether a start that was interrupted has left the file.
func isTemporary(name string) bool {
	return strings.HasPrefix(name, ".probe-") || slices.ContainsFunc(slices.Concat(markers, harmless), func(n string) bool {
		return strings.HasPrefix(name, "."+n+"-")
	})
}

// FindDir checks that a server has run in the data directory, or is starting there. It changes nothing. The error is
// fs.ErrNotExist if the directory is missing, and ErrNoServerFiles if no server has run there.
func FindDir(path string) error {
	if isFile(path) {
		return errIsFile(path)
	}
	if _, err := os.Stat(path); err != nil {
		return explain(path, "open", err)
	}
	for _, name := range []string{modeFile, "jetstream", "restore.json"} { // a restore makes only the others
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return explain(path, "read", err)
		}
	}
	if isLocked(path) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNoServerFiles, path)
}

// isLocked reports whether a process has locked the data directory. It does not make the lock file.
func isLocked(path string) bool {
	lock := flock.New(filepath.Join(path, lockFile), flock.SetFlag(os.O_RDONLY|openDirectly))
	locked, err := lock.TryLock()
	if err != nil {
		return false // there is no lock file, or none that a server of this user has made
	}
	_ = lock.Close() // releases the lock; the file was only read
	return !locked
}

// CheckUnlocked returns ErrDirInUse if a process has locked the data directory. It changes nothing.
func CheckUnlocked(path string) error {
	if !isLocked(path) {
		return nil
	}
	return inUse(path)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

func errIsFile(path string) error {
	return fmt.Errorf("data directory %s: it is a file, not a directory", path)
}
