//go:build !windows

package embedded

import (
	"errors"
	"strings"
	"syscall"
)

// isDiskFull reports whether a system error means that the disk or a quota is full.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// saysDiskFull is isDiskFull for the text of an error.
func saysDiskFull(text string) bool {
	return strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, syscall.EDQUOT.Error())
}

// isReadOnly reports whether a system error means that the file system is read-only.
func isReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS)
}
