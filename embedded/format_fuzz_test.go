package embedded

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzParseIndex: parsing an index with a valid checksum ends without a panic, whatever else it has.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte{indexMagic, indexMaxVersion, 1, 1, 1, 0, 1, 0, 0, 1, 1, 10, 1, 0, 1, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newChecksum("stream")
		h.Write(b)
		if ix := parseIndex(h.Sum(b), "stream"); ix != nil && len(ix.blocks) > len(b) {
			t.Errorf("got %d blocks from %d bytes", len(ix.blocks), len(b))
		}
	})
}

// FuzzScanBlock: a block of random bytes has no valid record, so its first bad record is at the beginning.
func FuzzScanBlock(f *testing.F) {
	f.Add([]byte{30, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "1.blk")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := blockFile{index: 1, path: path}.scan("stream")
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(-1 + min(len(b), 1)); s.badAt != want {
			t.Errorf("got a bad record at %d, want %d", s.badAt, want)
		}
	})
}
