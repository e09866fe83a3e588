package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// pipeName is the file name that means standard input or standard output.
const pipeName = "-"

// backupSource is a backup that can be read repeatedly.
type backupSource interface {
	io.ReadSeeker
	io.Closer
}

// openBackup opens a backup file, which is decrypted with the identities in a file, "" for none. It copies standard
// input to a private temporary file, as it is, which Close removes.
func openBackup(ctx context.Context, env *Env, name, identityFile string) (backupSource, error) {
	var file backupSource
	var err error
	if name == pipeName {
		file, err = spool("imctl-backup-*", env.In)
	} else {
		file, err = openArgument(env.path(name))
	}
	if err != nil {
		return nil, err
	}
	opened, err := unseal(ctx, env, name, file, identityFile)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return opened, nil
}

// openArgument opens a file that the command line names. The error is a usageError for a directory, too.
func openArgument(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageErrorf("%w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = directoryError(path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// directoryError tells that a path is a directory where a command needs a file.
func directoryError(path string) error {
	return &failure{exitUse, fmt.Errorf("%s is a directory", path), "name a file"}
}

// spool copies r to a private temporary file and returns the file, at an unspecified offset.
func spool(pattern string, r io.Reader) (_ *spooledFile, err error) {
	f, err := os.CreateTemp("", pattern) // with mode 0600
	if err != nil {
		return nil, err
	}
	s := &spooledFile{f}
	if _, err := io.Copy(f, r); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// spooledFile is a temporary file that Close removes.
type spooledFile struct{ *os.File }

// Close closes the file and removes it.
func (s *spooledFile) Close() error { return errors.Join(s.File.Close(), os.Remove(s.Name())) }
