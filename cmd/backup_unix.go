//go:build unix

package cmd

import (
	"os"
	"syscall"
)

// keepOwner gives new files in a directory to the owner of the directory, if the process is root's: the user of the
// service must be able to remove them.
func keepOwner(dir string, files ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	for _, file := range files {
		if err := os.Lchown(file, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return nil
}
