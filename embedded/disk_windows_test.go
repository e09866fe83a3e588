package embedded

import (
	"os"
	"testing"
)

// allocatedBytes is the size of a file: NTFS has no holes in a file that is not marked as sparse.
func allocatedBytes(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
