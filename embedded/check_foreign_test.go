package embedded

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// TestStartRefusesForeignEntries: a foreign entry of the store stops the start with an error that names it. Nothing is
// changed. Without the check nats-server waits for a stream of that name.
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
			t.Errorf("start with %s: got %v, want %v", entry, err, ErrStoreForeign)
			continue
		}
		wantLine(t, err, ErrStoreForeign, named, "move it")
		if after := tree(t, path); len(after) != len(before) {
			t.Errorf("the failed start with %s changed files", entry)
		}
		if err := os.RemoveAll(named); err != nil {
			t.Fatal(err)
		}
	}
	wantStore(t, start(t, Options{Dir: d}))
}
