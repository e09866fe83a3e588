//go:build !windows

package embedded

import (
	"os"
	"syscall"
	"testing"
)

// allocatedBytes is what a file occupies on the disk.
func allocatedBytes(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}
