package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestOpenDirMakesItForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "some", "data")
	d := openDir(t, path)
	if got, want := d.Path("tls", "cert.pem"), filepath.Join(path, "tls", "cert.pem"); got != want {
		t.Errorf("Path: got %s, want %s", got, want)
	}
	wantMode(t, path, 0o700)
	wantMode(t, d.Path(lockFile), 0o600)
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("opening left %v behind, want the lock alone", entries)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return // Access lists there, and the profile's directory is private already.
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

// A directory that was there before is closed to others when it is empty or
// ours, and left alone when it is somebody's.
func TestOpenDirExisting(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		file string
		want fs.FileMode
	}{
		"empty":      {"", 0o700},
		"ours":       {modeFile, 0o700},
		"of another": {"thesis.tex", 0o755},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.file != "" {
				if err := os.WriteFile(filepath.Join(path, tt.file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			openDir(t, path)
			wantMode(t, path, tt.want)
		})
	}
}

func TestOpenDirTwice(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenDir(path)
	wantLine(t, err, ErrDirInUse, path, strconv.Itoa(os.Getpid()))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	openDir(t, path)
}

// The lock names the process that holds it, holds against other processes, and
// goes with a process that is killed.
func TestOpenDirOfAnotherProcess(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	_, pid, kill := runChild(t, path)
	before := tree(t, filepath.Join(path, "jetstream", Account))
	_, err := OpenDir(path)
	wantLine(t, err, ErrDirInUse, path, strconv.Itoa(pid))
	if len(before) == 0 {
		t.Error("the other process stores nothing: this test proves nothing")
	}
	kill()
	openDir(t, path)
}

func TestOpenDirOnAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDir(path)
	wantLine(t, err, nil, path, "not a directory")
	_, err = OpenDir(filepath.Join(path, "below"))
	wantLine(t, err, nil, path, "not a directory")
}

func TestOpenDirThatCantBeWritten(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	switch {
	case runtime.GOOS == "linux" && os.Getuid() == 0:
		path = "/sys" // Permission bits don't bind root; the kernel's own directory does.
	case runtime.GOOS == "windows":
		t.Skip("read-only directories are access lists on Windows")
	default:
		if err := os.Chmod(path, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	_, err := OpenDir(path)
	wantLine(t, err, ErrDirNotWritable, path, "can't be written")
	_, err = OpenDir(filepath.Join(path, "new"))
	wantLine(t, err, ErrDirNotWritable, path, "can't be written")
}

// wantLine checks an error that a user reads: one line, with these words in it.
func wantLine(t *testing.T, err, is error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("%v: it is not %v", err, is)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v: it does not say %q", err, w)
		}
	}
	t.Log(err)
}
