package embedded

import "golang.org/x/sys/windows"

// roomOf returns the free space of the file system of path. NTFS does not limit files.
func roomOf(path string) (room, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return room{}, err
	}
	var free, total uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, &total, nil); err != nil {
		return room{}, err
	}
	return room{bytes: amount{free: free, total: total}}, nil
}
