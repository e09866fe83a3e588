package cmd

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache removes a file that is synced to disk from the memory of the system, so that the next read comes from the
// disk, and a large backup does not take the place of the server's files. It is a hint: an error changes nothing.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
