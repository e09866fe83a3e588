package embedded

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// A foreign entry of the store fails the start with a line that names it, and stays unchanged. NATS would wait for it to
// become a stream.
func TestStartRefusesForeignEntries(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	d := openDir(t, path)
	s, err := Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	writeStore(t, s)
	shutdown(t, s)
	streams := filepath.Join(path, "jetstream", Account, "streams")
	for _, entry := range []string{
		filepath.Join(path, "jetstream", "stray"),
		filepath.Join(streams, "stray"),
		filepath.Join(streams, ".DS_Store"),
		filepath.Join(streams, "stray.d", "file"),
		filepath.Join(streams, "LOG", "obs", "stray"),
	} {
		if err := os.MkdirAll(filepath.Dir(entry), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(entry, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		named := entry
		if filepath.Base(entry) == "file" {
			named = filepath.Dir(entry)
		}
		before := tree(t, path)
		_, err := Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, ErrStoreForeign) {
			t.Errorf("with %s the start says: %v", entry, err)
			continue
		}
		wantLine(t, err, ErrStoreForeign, named, "move it")
		if after := tree(t, path); len(after) != len(before) {
			t.Errorf("the refused start with %s changed files", entry)
		}
		if err := os.RemoveAll(named); err != nil {
			t.Fatal(err)
		}
	}
	wantStore(t, start(t, Options{Dir: d}))
}
