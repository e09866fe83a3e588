//go:build !windows

package embedded

import "golang.org/x/sys/unix"

// spaceOf returns the free space of the file system of path.
func spaceOf(path string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return space{}, err
	}
	block := uint64(st.Bsize)
	return space{
		bytes: amount{free: uint64(st.Bavail) * block, total: uint64(st.Blocks) * block},
		files: amount{free: uint64(st.Ffree), total: uint64(st.Files)},
	}, nil
}
