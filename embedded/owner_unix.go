//go:build !windows

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ownerOf returns the owner of a file.
func ownerOf(info fs.FileInfo) (Identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Identity{}, false
	}
	return Identity{int(st.Uid), int(st.Gid)}, true
}

// AsOwner makes a process of root act as the owner of a data directory, which may be missing, until the caller calls
// back. All goroutines access files as that user meanwhile. Without OtherOwner, AsOwner does nothing.
func AsOwner(path string) (back func() error, err error) {
	owner, ok := OtherOwner(path)
	if !ok {
		return func() error { return nil }, nil
	}
	group := os.Getegid()
	back = func() error { return errors.Join(syscall.Seteuid(0), syscall.Setegid(group)) }
	// The group comes first, since only root can set it.
	if err := syscall.Setegid(owner.GID); err != nil {
		return nil, fmt.Errorf("data directory %s: act as group %d: %w", path, owner.GID, err)
	}
	if err := syscall.Seteuid(owner.UID); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: act as user %s: %w", path, owner, err), syscall.Setegid(group))
	}
	return back, nil
}
