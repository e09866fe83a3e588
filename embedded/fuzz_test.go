package embedded

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever a disk makes of an index, reading it ends, and in good order.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte{indexMagic, indexVersion, 1, 1, 1, 0, 1, 0, 0, 1, 1, 10, 1, 0, 1, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHash("stream")
		h.Write(b)
		if ix, ok := parseIndex(h.Sum(b), "stream"); ok && len(ix.blocks) > len(b) {
			t.Errorf("%d blocks from %d bytes", len(ix.blocks), len(b))
		}
	})
}

// Random bytes are no record, and a block of them is broken where it begins.
func FuzzScanBlock(f *testing.F) {
	f.Add([]byte{30, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "1.blk")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := scanBlock(path, "stream", 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(-1 + min(len(b), 1)); s.broken != want {
			t.Errorf("broken at %d, want %d", s.broken, want)
		}
	})
}
