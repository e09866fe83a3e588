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

// TestOpenDirMode: only the owner can access a new data directory, which has no file except the lock.
func TestOpenDirMode(t *testing.T) {
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
		t.Errorf("got entries %v, want only the lock", entries)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return // Windows has access lists, and the user's profile is private.
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s: got mode %o, want %o", path, got, want)
	}
}

// TestOpenDirExisting: an existing directory loses the access of other users if it is empty or a data directory. Other
// directories are refused and keep their mode.
func TestOpenDirExisting(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		file string
		want fs.FileMode
	}{
		"empty":          {"", 0o700},
		"data directory": {modeFile, 0o700},
		"foreign":        {"thesis.tex", 0o755},
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
			if tt.want == 0o700 {
				openDir(t, path)
			} else if _, err := OpenDir(path); !errors.Is(err, ErrDirForeign) || !strings.Contains(err.Error(), tt.file) {
				t.Errorf("got %v, want %v with the file", err, ErrDirForeign)
			}
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

// TestOpenDirOfAnotherProcess: the error names the process that holds the lock. The lock ends when the process is
// killed.
func TestOpenDirOfAnotherProcess(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	lines, pid, kill := startProcess(t, path)
	if !lines.Scan() {
		t.Fatal("the process ended before it stored a pair")
	}
	_, err := OpenDir(path)
	wantLine(t, err, ErrDirInUse, path, strconv.Itoa(pid))
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

func TestOpenDirNotWritable(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	switch {
	case runtime.GOOS == "linux" && os.Getuid() == 0:
		path = "/sys" // The mode of a directory does not restrict root, but root can't write to /sys either.
	case runtime.GOOS == "windows":
		t.Skip("the mode of a directory does not restrict access on Windows")
	default:
		if err := os.Chmod(path, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	if path != "/sys" { // which has the files of others
		_, err := OpenDir(path)
		wantLine(t, err, ErrDirNotWritable, path, "can't be written")
	}
	_, err := OpenDir(filepath.Join(path, "new"))
	wantLine(t, err, ErrDirNotWritable, path, "can't be written")
}

// wantLine checks that an error is is, fits on one line, and has these words. is may be nil.
func wantLine(t *testing.T, err, is error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("got error %v, want %v", err, is)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got error %v, want %q in it", err, w)
		}
	}
	t.Log(err)
}
