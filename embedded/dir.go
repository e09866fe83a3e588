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

	"imctl/embedded/privatefile"
)

// Errors for errors.Is. The message around each is one line that names the directory and, if there is one, the remedy.
var (
	// ErrDirInUse means that another process holds the lock of the data directory.
	ErrDirInUse = errors.New("data directory is in use")
	// ErrDirMode means that the directory was written in another mode, standalone or cluster. nats-server would
	// delete the data of the other mode.
	ErrDirMode = errors.New("data directory has another mode")
	// ErrDirNotWritable means that permissions or a read-only file system prevent writes.
	ErrDirNotWritable = errors.New("data directory can't be written")
	// ErrDiskFull means that there is not enough space for a small file.
	ErrDiskFull = errors.New("disk is full")
)

const (
	lockFile = "lock"
	modeFile = "mode"

	modeStandalone = "standalone"
	modeCluster    = "cluster"

	// probeSize is the free space that a start needs: nats-server writes its indexes when it starts and when it stops.
	probeSize = 256 << 10
)

// Dir is a data directory that this process has locked. It has all persistent data: jetstream/, tls/, keys/,
// admin.json, streams.json, node.json, mode. reserve/ holds disk space and no data, and admin.sock is the socket of
// administrators. Only the owner can read the
// directory (mode 0700). Close unlocks it.
type Dir struct {
	path       string
	lock       *flock.Flock
	requiredMu sync.Mutex // guards requiredFile
}

// OpenDir locks the data directory, creates it if it is missing, and checks that it can be written. Its errors fit on
// one line: the directory is in use (ErrDirInUse, with the process id of the owner), the path is not a directory, it has
// the files of others (ErrDirForeign), it belongs to another user and the process is root's (ErrDirOwner), the directory
// can't be written (ErrDirNotWritable), or the disk is full even without the reserve (ErrDiskFull).
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err := errors.Join(CheckDir(abs), checkOwner(abs)); err != nil {
		return nil, err
	}
	if err := makeDir(abs); err != nil {
		return nil, err
	}
	d := &Dir{path: abs, lock: flock.New(filepath.Join(abs, lockFile), flock.SetPermissions(0o600))}
	// The lock comes first, so that nothing in a directory in use is changed.
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
		held.bytes -= min(held.bytes, minBytes)
		held.files -= min(held.files, minFiles)
		if reserveErr := makeReserve(d.path, held); reserveErr != nil {
			return errors.Join(err, reserveErr)
		}
	}
}

// Path returns the path of a file in the directory.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Close unlocks the directory. The lock file stays: its removal would race with a process that has opened it and is
// about to lock it.
func (d *Dir) Close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("data directory %s: unlock: %w", d.path, err)
	}
	return nil
}

// claimMode writes the mode to a new directory. It returns ErrDirMode if an existing directory has another mode.
func (d *Dir) claimMode(mode string) error {
	b, err := os.ReadFile(d.Path(modeFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.writeFile(modeFile, []byte(mode+"\n"))
	case err != nil:
		return d.explain("read "+modeFile, err)
	}
	switch have := strings.TrimSpace(string(b)); {
	case have == mode:
		return nil
	case have == modeStandalone && mode == modeCluster:
		return fmt.Errorf("%w: %s has the data of a single server; run 'imctl backup' on that server, start the cluster with new directories, "+
			"and run 'imctl restore' on one of its nodes", ErrDirMode, d.path)
	case have == modeCluster && mode == modeStandalone:
		return fmt.Errorf("%w: %s has the data of a node of a cluster; set nats.cluster.name, or run 'imctl backup' on the cluster "+
			"and 'imctl restore' on a single server with a new directory", ErrDirMode, d.path)
	default:
		return fmt.Errorf("%w: %s is %q, not %q; use 'imctl backup' and 'imctl restore' to move the data to a new directory",
			ErrDirMode, d.path, have, mode)
	}
}

// makeDir creates the directory, or restricts the mode of an existing one.
func makeDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return errIsFile(path)
	case err == nil:
		return restrict(path, info)
	case !errors.Is(err, fs.ErrNotExist):
		return explain(path, "open", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return explain(path, "create", err)
	}
	return nil
}

// restrict removes the access of other users to an existing directory, which is empty or a data directory.
func restrict(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(path, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
		return explain(path, "restrict the mode of", err)
	}
	return nil // A mounted volume often belongs to another user, and can still be written.
}

// acquire locks the directory and writes the process id to the lock file.
func (d *Dir) acquire() error {
	locked, err := d.lock.TryLock()
	switch {
	case err != nil:
		return d.explain("lock", err)
	case !locked:
		return inUse(d.path)
	}
	// On Windows, other processes can't read the first byte, which is locked. So the digits begin after a space.
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

// inUse returns ErrDirInUse for a directory, with the process that has locked it.
func inUse(path string) error {
	if pid := Owner(path); pid > 0 {
		return fmt.Errorf("%w: %s is locked by process %d", ErrDirInUse, path, pid)
	}
	return fmt.Errorf("%w: %s is locked by another process", ErrDirInUse, path)
}

// ownerPID returns the process id in a lock file, or 0 if it can't be read.
func ownerPID(path string) int {
	f, err := openRegular(path)
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

// probe writes and syncs a small file, since a full disk may accept a new file and refuse its contents. It removes the
// file again.
func (d *Dir) probe() (err error) {
	f, err := os.CreateTemp(d.path, ".probe-*")
	if err != nil {
		return d.explain("write", err)
	}
	defer func() {
		err = errors.Join(err, os.Remove(f.Name()))
	}()
	// Random bytes, since some file systems compress data or do not store zeros.
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

// explain is the function explain for this directory.
func (d *Dir) explain(doing string, err error) error {
	return explain(d.path, doing, err)
}

// explain adds the cause, the action that failed and the path to a system error.
func explain(path, doing string, err error) error {
	switch {
	case isDiskFull(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, withPath(path, err))
	case errors.Is(err, fs.ErrPermission) || isReadOnly(err):
		return fmt.Errorf("%w: %w", ErrDirNotWritable, withPath(path, err))
	}
	return fmt.Errorf("data directory: %s: %w", doing, withPath(path, err))
}

// withPath adds the path to an error that has none.
func withPath(path string, err error) error {
	var p *fs.PathError
	var l *os.LinkError
	if errors.As(err, &p) || errors.As(err, &l) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}
