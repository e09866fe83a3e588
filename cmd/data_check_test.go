package cmd

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDataCheck: a start with a damaged file fails, with the stream, the file and the setting in the error. Without the
// data check the start succeeds.
func TestDataCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeDataDir(t, filepath.Join(dir, "data"))
	command(t, dir, "long password", "user", "create", "alice").want(t, exitDone)
	f, err := os.OpenFile(filepath.Join(dir, "data", "jetstream", "IM", "streams", "KV_im_users", "msgs", "1.blk"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("xx"), 30); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "user", "list").want(t, exitFailed, "store is damaged", "KV_im_users", "1.blk", "data_check")
	command(t, dir, "", "user", "list", "--data_check=false").want(t, exitDone)
}
