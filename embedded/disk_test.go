package embedded

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// fakeDisk is a disk of 80 MiB and 800 inodes whose free space the test sets. Its reserve is real.
type fakeDisk struct {
	*Disk
	bytes, files uint64 // free, or held in reserve
}

func newFakeDisk(t *testing.T, log *logBuffer) *fakeDisk {
	t.Helper()
	dir := openDir(t, t.TempDir())
	f := &fakeDisk{bytes: 80 << 20, files: 800}
	f.Disk = &Disk{dir: dir, log: log.logger(slog.LevelInfo), start: time.Now(), room: func() (room, error) {
		held := heldInReserve(dir.path)
		return room{
			bytes: amount{f.bytes - min(f.bytes, held.bytes), 80 << 20},
			files: amount{f.files - min(f.files, held.files), 800},
		}, nil
	}}
	if err := f.begin(8 << 20); err != nil {
		t.Fatal(err)
	}
	return f
}

// sees makes the disk check its space and recover as the watcher does, with this much free or in reserve.
func (f *fakeDisk) sees(bytes, files uint64) {
	f.bytes, f.files = bytes, files
	f.mu.Lock()
	f.checked = time.Time{}
	f.mu.Unlock()
	f.tick()
	f.recover()
}

// The marks of this disk: 8 MiB in reserve, read-only below 2 MiB free, back at 12 MiB free or held; 64 inodes, 16, 96.
func TestDiskHysteresis(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	f := newFakeDisk(t, new(logBuffer))
	for i, step := range []struct {
		bytes, files uint64
		readOnly     bool
		token        bool
		held         reserve
	}{
		{80 * mib, 800, false, true, reserve{8 * mib, 64}},
		{10 * mib, 800, false, true, reserve{8 * mib, 64}},
		{10*mib - 1, 800, true, true, reserve{8 * mib, 64}}, // low, and nothing released
		{11 * mib, 800, true, true, reserve{8 * mib, 64}},   // not back yet
		{8 * mib, 800, true, true, reserve{7 * mib, 64}},    // as good as full: one slice
		{4 * mib, 800, true, true, reserve{3 * mib, 64}},
		{4*mib - 1, 800, true, false, reserve{3 * mib, 64}}, // the floor
		{0, 800, true, false, reserve{0, 64}},
		{12*mib - 1, 800, true, true, reserve{0, 64}},
		{12 * mib, 800, false, true, reserve{8 * mib, 64}},
		{80 * mib, 79, true, true, reserve{8 * mib, 64}},
		{80 * mib, 67, true, true, reserve{8 * mib, 56}},
		{80 * mib, 31, true, false, reserve{8 * mib, 24}},
		{80 * mib, 95, true, true, reserve{8 * mib, 24}},
		{80 * mib, 96, false, true, reserve{8 * mib, 64}},
	} {
		f.sees(step.bytes, step.files)
		if err := f.Writable(); (err != nil) != step.readOnly || err != nil && !errors.Is(err, ErrReadOnly) {
			t.Errorf("step %d: writable: %v", i, err)
		}
		if err := f.TokenWritable(); (err == nil) != step.token {
			t.Errorf("step %d: token writable: %v", i, err)
		}
		if held := heldInReserve(f.dir.path); held != step.held {
			t.Errorf("step %d: in reserve %+v, want %+v", i, held, step.held)
		}
	}
}

// The log has one line when the disk turns read-only and one when it recovers. Refusals do not flood the log.
func TestDiskLog(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	f := newFakeDisk(t, log)
	for range 3 {
		f.sees(9<<20, 800)
	}
	for range 100 {
		if f.Writable() == nil {
			t.Fatal("writable")
		}
	}
	f.sees(80<<20, 800)
	f.sees(80<<20, 800)
	for what, n := range map[string]int{"level=WARN": 2, "nearly full: read-only": 1, "a write was refused": 1, "level=INFO": 1, "has free space again": 1, "refused=100": 1} {
		if got := strings.Count(log.String(), what); got != n {
			t.Errorf("%q is there %d times, want %d:\n%s", what, got, n, log)
		}
	}
}

// The blocks of the reserve are allocated, not only counted, and 0 removes it.
func TestReserve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, r := range []reserve{{3 << 20, 5}, {1 << 20, 9}, {1<<20 + 1, 0}, {0, 3}, {}, {2 << 20, 2}} {
		for range 2 {
			if err := makeReserve(dir, r); err != nil {
				t.Fatal(err)
			}
			if held := heldInReserve(dir); held != r {
				t.Errorf("held %+v, want %+v", held, r)
			}
		}
	}
	if used := allocatedBytes(t, dir+"/reserve/blocks"); used < 2<<20 {
		t.Errorf("%d bytes are allocated", used)
	}
	if err := makeReserve(dir, reserve{}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func TestRepairPauses(t *testing.T) {
	t.Parallel()
	var r repair
	now := time.Unix(1_000_000, 0)
	var pauses []time.Duration
	for range 9 {
		if !r.due(now) || r.due(now) || r.due(r.next.Add(-1)) {
			t.Fatal("a repair is due once, and then after a pause")
		}
		pauses = append(pauses, r.next.Sub(now))
		now = r.next
	}
	if pauses[0] != repairPause || pauses[1] != 2*repairPause || pauses[8] != repairPauseMost {
		t.Errorf("pauses: %v", pauses)
	}
	if now = now.Add(2 * repairPauseMost); !r.due(now) || r.next.Sub(now) != repairPause {
		t.Error("after a long peace the pauses begin anew")
	}
}
