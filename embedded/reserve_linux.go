package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate extends a file to this size and allocates its blocks.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return fillUp(f, size)
	}
	return err
}
