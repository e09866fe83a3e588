//go:build !linux

package embedded

import "os"

// allocate extends a file to this size and allocates its blocks.
func allocate(f *os.File, size int64) error { return fillUp(f, size) }
