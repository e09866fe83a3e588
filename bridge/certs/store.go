package certs

import (
	"fmt"
	"os"
	"runtime"
)

// privateDir creates a directory that only its owner can access, or restricts an existing one.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("create the certificate directory: %w", err)
	}
	return private(path, 0o700)
}

// private removes all permissions beyond mode. Windows has none of these bits: there a directory inherits the access
// rights of its parent.
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
