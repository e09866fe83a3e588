//go:build !linux

package cmd

import "imctl/embedded"

// thisMachine returns what other systems than Linux tell in a portable way.
func thisMachine() machine {
	return machine{
		fileSystem: func(string) (string, error) { return "", nil },
		owner:      func(string) (string, bool) { return "", false },
		disk:       embedded.DiskOf,
		clock:      func() (synchronised, known bool) { return false, false },
		limits:     func(int) systemLimits { return systemLimits{descriptors: uint64(descriptors())} },
		holds:      func(int, string) bool { return false },
		holder:     func(int) (int, string) { return 0, "" },
	}
}
