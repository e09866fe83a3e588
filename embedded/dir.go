package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"imctl/privatefile"
)

// Errors that callers tell apart with errors.Is. The message around each is one
// line that names the directory and, where somebody can mend it, how.
var (
	// ErrDirInUse: another process holds the lock of the data directory.
	ErrDirInUse = errors.New("data directory is in use")
	// ErrDirMode: the directory was written by the other kind of server,
	// standalone or cluster; nats-server would delete what the other kind wrote.
	ErrDirMode = errors.New("data directory has another mode")
	// ErrDirNotWritable: permissions or a read-only file system forbid it.
	ErrDirNotWritable = errors.New("data directory can't be written")
	// ErrDiskFull: there is no room for even a small file.
	ErrDiskFull = errors.New("disk is full")
)

const (
	lockFile = "lock"
	modeFile = "mode"

	modeStandalone = "standalone"

	// probeSize is what must fit on the disk for a start to make sense: the
	// server rewrites its indexes when it starts and when it stops.
	probeSize = 256 << 10
)

// Dir is a data directory that this process has locked. Everything that lasts
// is in it: jetstream/, tls/, keys/, admin.json, mode. reserve/ holds disk space and
// no data. Only the owner can read the directory (0700). Close unlocks it.
type Dir struct {
	path        string
	lock        *flock.Flock
	remembering sync.Mutex // guards memoryFile
}

// OpenDir locks the data directory, makes it if it is missing, and checks that it
// can be written. Its errors fit on one line: the directory is in use (ErrDirInUse,
// with the owner's process id), the path is not a directory, the directory can't be
// written (ErrDirNotWritable), the disk is full even without the reserve (ErrDiskFull).
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err := makeDir(abs); err != nil {
		return nil, err
	}
	d := &Dir{path: abs, lock: flock.New(filepath.Join(abs, lockFile), flock.SetPermissions(0o600))}
	// The lock comes before everything else, so that a directory in use is not touched.
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.withReserve(d.probe); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// withReserve calls do. If do fails because the disk is full, withReserve releases a part of the reserve and retries,
// until the reserve is used up.
func (d *Dir) withReserve(do func() error) error {
	for {
		err := do()
		held := heldInReserve(d.path)
		if !errors.Is(err, ErrDiskFull) || held == (reserve{}) {
			return err
		}
		held.bytes -= min(held.bytes, leastBytes)
		held.files -= min(held.files, leastFiles)
		if lost := makeReserve(d.path, held); lost != nil {
			return errors.Join(err, lost)
		}
	}
}

// Path returns the path of something in the directory.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Close unlocks the directory. The lock file stays: removing it would race with
// a process that has opened it and waits to lock it.
func (d *Dir) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("data directory %s: unlock: %w", d.path, err)
	}
	return nil
}

// claimMode records the mode in a new directory and refuses an old one that has
// the other mode.
func (d *Dir) claimMode(mode string) error {
	b, err := os.ReadFile(d.Path(modeFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.writeFile(modeFile, []byte(mode+"\n"))
	case err != nil:
		return d.explain("read "+modeFile, err)
	}
	if have := strings.TrimSpace(string(b)); have != mode {
		return fmt.Errorf("%w: %s is %q and not %q; carry the data across with 'imctl backup' and 'imctl restore' into a new directory",
			ErrDirMode, d.path, have, mode)
	}
	return nil
}

func makeDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("data directory %s: it is a file, not a directory", path)
	case err == nil:
		return restrict(path, info)
	case !errors.Is(err, fs.ErrNotExist):
		return explain(path, "open", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return explain(path, "make", err)
	}
	return nil
}

// restrict closes an existing directory to others, but only one that is empty or
// ours: whoever points at a shared directory by mistake must not lose its mode.
func restrict(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return explain(path, "read", err)
	}
	_, err = os.Stat(filepath.Join(path, modeFile))
	if len(entries) > 0 && err != nil {
		return nil
	}
	if err := os.Chmod(path, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
		return explain(path, "close to others", err)
	}
	return nil // A mounted volume often belongs to another user and can be written all the same.
}

func (d *Dir) acquire() error {
	locked, err := d.lock.TryLock()
	switch {
	case err != nil:
		return d.explain("lock", err)
	case !locked:
		if pid := ownerPID(d.lock.Path()); pid > 0 {
			return fmt.Errorf("%w: %s is locked by process %d", ErrDirInUse, d.path, pid)
		}
		return fmt.Errorf("%w: %s is locked by another process", ErrDirInUse, d.path)
	}
	// The leading space keeps the digits out of the one byte that Windows locks
	// against readers.
	line := " " + strconv.Itoa(os.Getpid()) + "\n"
	err = d.withReserve(func() error {
		if err := os.WriteFile(d.lock.Path(), []byte(line), 0o600); err != nil {
			return d.explain("write "+lockFile, err)
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, d.lock.Close())
	}
	return nil
}

// ownerPID reads who holds the lock; 0 when it can't tell.
func ownerPID(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 1, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// probe writes through to the disk: a full disk and a read-only one accept a
// file's name and refuse its contents.
func (d *Dir) probe() (err error) {
	f, err := os.CreateTemp(d.path, ".probe-*")
	if err != nil {
		return d.explain("write", err)
	}
	defer func() {
		err = errors.Join(err, os.Remove(f.Name()))
	}()
	// Random bytes, since some file systems store zeros and repetitions in no room.
	data := make([]byte, probeSize)
	rand.Read(data)
	if _, err := f.Write(data); err != nil {
		return errors.Join(d.explain("write", err), f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(d.explain("write", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return d.explain("write", err)
	}
	return nil
}

// writeFile replaces a file of the directory as a whole.
func (d *Dir) writeFile(name string, data []byte) error {
	if err := privatefile.Write(d.Path(name), data); err != nil {
		return d.explain("write "+name, err)
	}
	return nil
}

func (d *Dir) explain(doing string, err error) error {
	return explain(d.path, doing, err)
}

// explain puts what a person needs to know before the system's words.
func explain(path, doing string, err error) error {
	switch {
	case isDiskFull(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, named(path, err))
	case errors.Is(err, fs.ErrPermission) || isReadOnly(err):
		return fmt.Errorf("%w: %w", ErrDirNotWritable, named(path, err))
	}
	return fmt.Errorf("data directory: %s: %w", doing, named(path, err))
}

// named adds the path to an error that does not name one.
func named(path string, err error) error {
	var p *fs.PathError
	var l *os.LinkError
	if errors.As(err, &p) || errors.As(err, &l) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}
