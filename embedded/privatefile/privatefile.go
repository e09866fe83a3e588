// Package privatefile writes files that only their owner can read, and each as a whole: after a crash there is the old
// file or the new one.
package privatefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a temporary file with mode 0600 in the directory of its path. Commit moves it to the path.
type File struct {
	*os.File
	path    string
	replace bool
}

// Create creates a File for path. If path exists and replace is false, the error is fs.ErrExist.
func Create(path string, replace bool) (*File, error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // creates it with mode 0600
	if err != nil {
		return nil, err
	}
	return &File{f, path, replace}, nil
}

// Commit syncs the contents to disk, closes the file and moves it to its path. It does not sync the directory. If path
// has come to exist since Create and must not be replaced, the error is fs.ErrExist. On file systems without hard links
// Commit replaces path then.
func (f *File) Commit() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if !f.replace {
		if err := os.Link(f.Name(), f.path); err == nil || errors.Is(err, fs.ErrExist) {
			return err // Discard removes the temporary name
		}
	}
	return os.Rename(f.Name(), f.path)
}

// Discard removes the temporary file if it was not moved. A caller of Create defers it. f may be nil.
func (f *File) Discard() {
	if f == nil {
		return
	}
	_ = f.Close()           // fails after Commit
	_ = os.Remove(f.Name()) // fails after a rename
}

// Write replaces the file at path.
func Write(path string, data []byte) error {
	f, err := Create(path, true)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}
