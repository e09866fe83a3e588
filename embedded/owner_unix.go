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

// openDirectly are the flags of openRegular: the last name of the path is no symbolic link, and a pipe does not wait
// for its writer.
const openDirectly = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// names returns how many names a file has.
func names(info fs.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return int(st.Nlink)
}

// AsOwner makes a process of root act as the owner of a data directory, which may be missing, until the caller calls
// back. All goroutines access files as that user meanwhile, so that the owner can't make root use files of others.
// Without OtherOwner, AsOwner does nothing.
//
// While the process already acts as the owner of another directory, AsOwner changes to this one.
func AsOwner(path string) (back func() error, err error) {
	before := Identity{os.Geteuid(), os.Getegid()}
	groups, err := os.Getgroups()
	if err != nil {
		return nil, err
	}
	acted := os.Getuid() == 0 && before.UID != 0
	if acted {
		if err := become(Identity{}, groups); err != nil { // only root can read all directories, and change the user
			return nil, err
		}
	}
	owner, ok := OtherOwner(path)
	if !acted && !ok {
		return func() error { return nil }, nil
	}
	back = func() error { return become(before, groups) }
	if !ok {
		return back, nil
	}
	if err := become(owner, owner.Groups()); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: act as user %s: %w", path, owner, err), back())
	}
	return back, nil
}

// become changes the effective user and the groups of the process, whose user is root.
func become(i Identity, groups []int) error {
	if err := syscall.Seteuid(0); err != nil {
		return err
	}
	return errors.Join(syscall.Setgroups(groups), syscall.Setegid(i.GID), syscall.Seteuid(i.UID))
}
