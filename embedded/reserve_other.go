//go:build !linux

package embedded

import "os"

// allocate gives a file this size, of blocks that are its own.
func allocate(f *os.File, size int64) error { return fillUp(f, size) }
