package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// mountSmall mounts a disk of size bytes and returns its path.
func mountSmall(t *testing.T, size int) string {
	t.Helper()
	path := t.TempDir()
	err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("only root can mount a disk")
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

// fill fills the disk of dir. free frees the space again.
func fill(t *testing.T, dir string) (free func()) {
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
	free := fill(t, disk)
	path := filepath.Join(disk, "data")
	_, err := OpenDir(path)
	wantLine(t, err, ErrDiskFull, path)
	free()
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

// TestDiskFillsUp: another program fills the disk faster than the server checks it. Writes fail, and other requests
// go on. When there is free space again, the same connections write again, and no acknowledged write is lost.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	disk := mountSmall(t, 16<<20)
	path := filepath.Join(disk, "data")
	log := new(logBuffer)
	s := start(t, Options{Dir: openDir(t, path), Listen: "127.0.0.1:0", Log: log.logger(slog.LevelInfo)})
	url, admin := s.URL(), s.admin
	kv := bucket(t, s, "b")
	put(t, kv, "before", []byte("x"))
	nc, err := s.Connect("responder")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	free := fill(t, disk)
	stored := make(map[string][]byte)
	for i := 0; ; i++ {
		key, data := fmt.Sprintf("key.%d", i), value(i, 3000)
		if _, err = kv.Put(t.Context(), key, data); err != nil {
			break
		}
		stored[key] = data
	}
	t.Logf("after %d writes: %v", len(stored), err)
	eventually(t, "read-only", func() bool { return s.Disk().ReadOnly() != nil })
	wantLine(t, s.Disk().Writable(), ErrReadOnly, "disk nearly full", path)
	if s.Disk().TokenWritable() == nil {
		t.Error("TokenWritable on a full disk: got nil, want an error")
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("Healthy of a read-only server: %v", err)
	}
	if _, err := nc.Request("echo", nil, 20*time.Second); err != nil {
		t.Errorf("request on a full disk: %v", err)
	}
	for key, data := range stored {
		want(t, kv, key, data)
	}

	free()
	eventually(t, "writable", func() bool { return s.Disk().Writable() == nil })
	eventually(t, "a write", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := kv.Put(ctx, "after", []byte("y"))
		return err == nil
	})
	if !strings.Contains(log.String(), "the NATS server has restarted") {
		t.Errorf("the NATS server did not restart:\n%s", log)
	}
	want(t, kv, "before", []byte("x"))
	for key, data := range stored {
		want(t, kv, key, data)
	}
	if _, err := nc.Request("echo", nil, 20*time.Second); err != nil {
		t.Errorf("request after the restart: %v", err)
	}
	if err := connectAs(url, admin.User, admin.Password); err != nil {
		t.Errorf("connect by TCP after the restart: %v", err)
	}
	select {
	case err := <-s.Failed():
		t.Errorf("the server failed: %v", err)
	default:
	}
}

// TestStartOnAFullDisk: a start on a full disk uses space of the reserve and is read-only.
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := mountSmall(t, 64<<20)
	path := filepath.Join(disk, "data")
	d := openDir(t, path)
	s := start(t, Options{Dir: d, Reserve: 8 << 20})
	put(t, bucket(t, s, "b"), "key", []byte("x"))
	if held := heldInReserve(path); held.bytes != 8<<20 || held.files != reserveFiles {
		t.Fatalf("got %+v in reserve", held)
	}
	shutdown(t, s)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	free := fill(t, disk)
	s = start(t, Options{Dir: openDir(t, path), Reserve: 8 << 20})
	wantLine(t, s.Disk().Writable(), ErrReadOnly, "disk nearly full")
	if err := s.Disk().TokenWritable(); err != nil {
		t.Errorf("TokenWritable with most of the reserve left: %v", err)
	}
	kv := bucket(t, s, "b")
	want(t, kv, "key", []byte("x"))
	put(t, kv, "token", []byte("y"))
	free()
	eventually(t, "writable", func() bool { return s.Disk().Writable() == nil })
	if held := heldInReserve(path); held.bytes != 8<<20 || held.files != reserveFiles {
		t.Errorf("got %+v in reserve after the recovery", held)
	}
}
