package embedded

import (
	"errors"
	"strings"

	"golang.org/x/sys/windows"
)

// isDiskFull reports whether a system error means that the disk is full.
func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// saysDiskFull is isDiskFull for the text of an error.
func saysDiskFull(text string) bool {
	return strings.Contains(text, windows.ERROR_DISK_FULL.Error()) || strings.Contains(text, windows.ERROR_HANDLE_DISK_FULL.Error())
}

// isReadOnly reports whether a system error means that the disk is write-protected.
func isReadOnly(err error) bool {
	return errors.Is(err, windows.ERROR_WRITE_PROTECT)
}
