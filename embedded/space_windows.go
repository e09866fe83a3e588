package embedded

import "golang.org/x/sys/windows"

// spaceOf returns the free space of the file system of path. NTFS does not limit files.
func spaceOf(path string) (space, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return space{}, err
	}
	var free, total uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, &total, nil); err != nil {
		return space{}, err
	}
	return space{bytes: amount{free: free, total: total}}, nil
}
