package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// mountSmall mounts a disk of so many bytes.
func mountSmall(t *testing.T, size int) string {
	t.Helper()
	path := t.TempDir()
	err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("a small disk can only be mounted by root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
	return path
}

// fill leaves no room on a disk.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenDirOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := mountSmall(t, 1<<20)
	empty := fill(t, disk)
	path := filepath.Join(disk, "data")
	_, err := OpenDir(path)
	wantLine(t, err, ErrDiskFull, path)
	empty()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenDirOnAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	disk := mountSmall(t, 1<<20)
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDir(disk)
	wantLine(t, err, ErrDirNotWritable, disk, "read-only")
}

// A disk that fills up under a running server: writes are refused, whoever runs
// it is told, and with room again everything that was acknowledged is there.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	disk := mountSmall(t, 8<<20)
	path := filepath.Join(disk, "data")
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	kv := bucket(t, s, "b")
	put(t, kv, "before", []byte("x"))
	empty := fill(t, disk)
	stored := make(map[string][]byte)
	for i := 0; ; i++ {
		key, data := fmt.Sprintf("key.%d", i), value(i, 3000)
		if _, err = kv.Put(t.Context(), key, data); err != nil {
			break
		}
		stored[key] = data
	}
	t.Logf("after %d writes: %v", len(stored), err)
	select {
	case err := <-s.Failed():
		wantLine(t, err, ErrDiskFull, path)
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
	if err := s.Healthy(); err == nil {
		t.Error("it is healthy on a full disk")
	}
	shutdown(t, s)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = OpenDir(path)
	wantLine(t, err, ErrDiskFull, path)

	empty()
	d, err = OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	s, err = Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, s) })
	kv = bucket(t, s, "b")
	want(t, kv, "before", []byte("x"))
	for key, data := range stored {
		want(t, kv, key, data)
	}
	if _, err := kv.Put(t.Context(), "after", nil); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		t.Error(err)
	}
}
