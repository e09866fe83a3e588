package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// IsDataDir reports whether a server has run in a directory. It is true if that cannot be read.
func IsDataDir(path string) bool {
	_, err := os.Stat(filepath.Join(path, modeFile))
	if errors.Is(err, fs.ErrNotExist) { // of a server that is attached to another NATS
		_, err = os.Stat(filepath.Join(path, lockFile))
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// LockFile returns the file in a data directory that a running server has open.
func LockFile(path string) string { return filepath.Join(path, lockFile) }
