package cmd

import (
	"errors"
	"io"
	"os"
)

// pipeName stands for standard input or output in place of a file name.
const pipeName = "-"

// backupSource is a backup that can be read more than once.
type backupSource interface {
	io.ReadSeeker
	io.Closer
}

// openBackup opens the file of a backup. It copies standard input to a private temporary file, which Close removes.
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

// spooled is a temporary file that Close removes.
type spooled struct{ *os.File }

func (s spooled) Close() error { return errors.Join(s.File.Close(), os.Remove(s.Name())) }
