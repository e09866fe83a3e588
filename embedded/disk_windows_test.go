package embedded

import (
	"os"
	"testing"
)

// allocatedBytes returns the size of a file: on NTFS a file has no holes unless it is marked as sparse.
func allocatedBytes(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
