package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The reserve is a directory in the data directory that occupies disk space: one file of allocated blocks, and empty
// files, each of which occupies an inode. It holds no data. Removing it frees the space for the NATS server.
const (
	reserveDir    = "reserve"
	reserveBlocks = "blocks"
)

// reserve is the size of a reserve.
type reserve struct{ bytes, files uint64 }

// makeReserve allocates a reserve of this size. It keeps the existing reserve, adds the missing part and removes the
// excess. So it can be called again after a crash or with another size.
func makeReserve(dir string, r reserve) error {
	if r == (reserve{}) {
		return os.RemoveAll(filepath.Join(dir, reserveDir))
	}
	path := filepath.Join(dir, reserveDir)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := makeBlocks(filepath.Join(path, reserveBlocks), int64(r.bytes)); err != nil {
		return err
	}
	wanted := map[string]bool{reserveBlocks: true}
	for n := range r.files {
		wanted[inodeName(n)] = true
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if wanted[e.Name()] {
			delete(wanted, e.Name())
		} else if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	for name := range wanted {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func inodeName(n uint64) string { return fmt.Sprintf("inode-%03d", n) }

// makeBlocks creates a file of this size, or resizes an existing file.
func makeBlocks(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > size {
		return f.Truncate(size)
	}
	if size == 0 {
		return nil
	}
	return allocate(f, size)
}

// fillUp appends to a file up to this size. The bytes are random, since some file systems do not store zeros.
func fillUp(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	for at := info.Size(); at < size; {
		rand.Read(chunk)
		n, err := f.WriteAt(chunk[:min(int64(len(chunk)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return f.Sync()
}

// heldInReserve returns the size of the existing reserve.
func heldInReserve(dir string) (r reserve) {
	entries, err := os.ReadDir(filepath.Join(dir, reserveDir))
	if err != nil {
		return r // there is no reserve, or it can't be read
	}
	for _, e := range entries {
		if e.Name() != reserveBlocks {
			r.files++
		} else if info, err := e.Info(); err == nil {
			r.bytes = uint64(info.Size())
		}
	}
	return r
}
