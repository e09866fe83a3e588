package cmd

import (
	"log/slog"
	"os"
	"testing"

	"imctl/embedded"
)

// TestPredecessor: a node knows that the one before it in its data directory has ended, unless the machine was started
// since, or the directory was copied from another one.
func TestPredecessor(t *testing.T) {
	t.Parallel()
	dir, err := embedded.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	log := slog.New(slog.DiscardHandler)
	last := ""
	for _, row := range []struct {
		boot  string
		known bool
	}{{"b1", false}, {"b1", true}, {"b1", true}, {"b2", false}, {"b2", true}, {"", false}} {
		want := ""
		if row.known {
			want = last
		}
		id, ended := newNode(dir, row.boot, log)
		if len(id) != 16 || id == last || ended != want {
			t.Errorf("boot %q: node %q after %q, want the end of %q", row.boot, id, ended, want)
		}
		last = id
	}
	if err := os.WriteFile(dir.Path(nodeFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ended := newNode(dir, "b2", log); ended != "" {
		t.Errorf("a damaged file names the node %q", ended)
	}
}
