package embedded

import "golang.org/x/sys/windows"

// roomOf asks the file system that a path is on. NTFS makes room for file records as long as there is room for bytes.
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
