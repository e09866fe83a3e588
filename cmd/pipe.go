package cmd

import (
	"errors"
	"io"
	"os"
)

// pipeName is what commands call standard input or output where a file may be named.
const pipeName = "-"

// backupSource is a backup that can be read more than once.
type backupSource interface {
	io.ReadSeeker
	io.Closer
}

// openBackup opens the file of a backup. Standard input is kept in a private file, which is gone when it is closed.
func openBackup(env *Env, name string) (backupSource, error) {
	if name != pipeName {
		f, err := os.Open(env.path(name))
		if err != nil {
			return nil, wrongUse("%w", err)
		}
		return f, nil
	}
	f, err := os.CreateTemp("", "imctl-backup-*") // made 0600
	if err != nil {
		return nil, err
	}
	s := spooled{f}
	if _, err := io.Copy(f, env.In); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// spooled is a file that nobody needs any more when it is closed.
type spooled struct{ *os.File }

func (s spooled) Close() error { return errors.Join(s.File.Close(), os.Remove(s.Name())) }
