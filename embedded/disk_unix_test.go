//go:build !windows

package embedded

import (
	"os"
	"syscall"
	"testing"
)

// allocatedBytes returns the disk space that a file occupies.
func allocatedBytes(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}
