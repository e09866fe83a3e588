package certs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// privateDir creates a folder that nobody else may look into, or makes it so.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("create the certificate folder: %w", err)
	}
	return private(path, 0o700)
}

// private takes others' rights away. Windows has none of these bits: there the
// folder inherits the rights of the one above it.
func private(path string, mode os.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" || info.Mode().Perm()&^mode == 0 {
		return nil
	}
	return os.Chmod(path, mode)
}

// writePrivate replaces a file as a whole, readable by its owner only.
func writePrivate(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the first error is the one to tell
		}
	}()
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
