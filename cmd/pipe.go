package cmd

import (
	"context"
	"errors"
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
	} else if file, err = os.Open(env.path(name)); err != nil {
		err = usageErrorf("%w", err)
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
