package embedded

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrDirOwner means that root may not open the data directory, since it belongs to another user. The files that root
// makes could not be read by that user.
var ErrDirOwner = errors.New("data directory belongs to another user")

// Owner returns the id of the process that locked the data directory last, or 0 if it can't be read. The process may
// have ended: the lock file stays when the lock is released.
func Owner(path string) int { return ownerPID(filepath.Join(path, lockFile)) }

// Identity is a user and a group of the system.
type Identity struct{ UID, GID int }

// String returns the name of the user, or # and its id if it has no name. sudo -u accepts both.
func (i Identity) String() string {
	id := strconv.Itoa(i.UID)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "#" + id
}

// Groups returns the ids of the groups that the user is a member of.
func (i Identity) Groups() []int {
	groups := []int{i.GID}
	u, err := user.LookupId(strconv.Itoa(i.UID))
	if err != nil {
		return groups // a user without a name has no other groups
	}
	ids, err := u.GroupIds()
	if err != nil {
		return groups
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil && n != i.GID {
			groups = append(groups, n)
		}
	}
	return groups
}

// DirOwner returns the owner of a data directory: that of the file mode, which the first start has made, or that of the
// directory if no server has run there. ok is false if the directory can't be read, and on Windows.
//
// A mounted volume may belong to another user than its files. The owner of the directory can make any name in it lead
// to a file of root's, so only a file that a server has written counts.
func DirOwner(path string) (owner Identity, ok bool) {
	if owner, ok := modeOwner(path); ok {
		return owner, true
	}
	if info, err := os.Stat(path); err == nil {
		return ownerOf(info)
	}
	return owner, false
}

// modeOwner returns the owner of the file mode of a data directory. ok is false unless it is a file as a server writes
// it, with one name.
func modeOwner(path string) (owner Identity, ok bool) {
	f, err := openRegular(filepath.Join(path, modeFile))
	if err != nil {
		return owner, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if word := strings.TrimSpace(string(text)); err != nil || word != modeStandalone && word != modeCluster {
		return owner, false
	}
	info, err := f.Stat()
	if err != nil || names(info) != 1 {
		return owner, false
	}
	return ownerOf(info)
}

// openRegular opens a file to read it, and no symbolic link, pipe or device. The process may be root's, and another user
// may own the directory of the file.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openDirectly, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readRegular reads a file that openRegular opens.
func readRegular(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// nearestOwner is DirOwner for a directory that may be missing: it then returns the owner of the nearest directory above.
func nearestOwner(path string) (owner Identity, ok bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return owner, false
	}
	for {
		_, err := os.Stat(path)
		if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
			path = parent
			continue
		}
		return DirOwner(path)
	}
}

// OtherOwner returns the user that a process of root must become before it opens the data directory or makes it. ok is
// false if the process is not root's, or if the directory is root's.
func OtherOwner(path string) (owner Identity, ok bool) {
	owner, ok = nearestOwner(path)
	return owner, ok && os.Geteuid() == 0 && owner.UID != 0
}

// checkOwner returns ErrDirOwner if the process is root's and the directory exists and is another user's.
func checkOwner(path string) error {
	owner, ok := DirOwner(path)
	if ok && os.Geteuid() == 0 && owner.UID != 0 {
		return fmt.Errorf("%w: %s belongs to %s", ErrDirOwner, path, owner)
	}
	return nil
}
