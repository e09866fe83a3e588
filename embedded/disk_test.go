package embedded

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// fakeDisk is a disk of 80 MiB and 800 inodes. The test sets its free space. Its reserve is real.
type fakeDisk struct {
	*Disk
	bytes, files uint64 // free or in reserve
}

func newFakeDisk(t *testing.T, log *logBuffer) *fakeDisk {
	t.Helper()
	dir := openDir(t, t.TempDir())
	f := &fakeDisk{bytes: 80 << 20, files: 800}
	f.Disk = &Disk{dir: dir, log: log.logger(slog.LevelInfo), start: time.Now(), space: func() (space, error) {
		held := heldInReserve(dir.path)
		return space{
			bytes: amount{f.bytes - min(f.bytes, held.bytes), 80 << 20},
			files: amount{f.files - min(f.files, held.files), 800},
		}, nil
	}}
	if err := f.begin(8 << 20); err != nil {
		t.Fatal(err)
	}
	return f
}

// setFree sets the space that is free or in reserve. The disk then checks it and recovers, as in the watcher.
func (f *fakeDisk) setFree(bytes, files uint64) {
	f.bytes, f.files = bytes, files
	f.mu.Lock()
	f.checked = time.Time{}
	f.mu.Unlock()
	f.tick()
	f.recover()
}

// TestDiskHysteresis uses a disk with these marks: 8 MiB in reserve, read-only below 2 MiB free, writable again at 12
// MiB free or in reserve. For inodes the marks are 64, 16 and 96.
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
		{10*mib - 1, 800, true, true, reserve{8 * mib, 64}}, // read-only, nothing released
		{11 * mib, 800, true, true, reserve{8 * mib, 64}},   // still read-only
		{8 * mib, 800, true, true, reserve{7 * mib, 64}},    // below the bottom mark: one slice
		{4 * mib, 800, true, true, reserve{3 * mib, 64}},
		{4*mib - 1, 800, true, false, reserve{3 * mib, 64}}, // below the floor
		{0, 800, true, false, reserve{0, 64}},
		{12*mib - 1, 800, true, true, reserve{0, 64}},
		{12 * mib, 800, false, true, reserve{8 * mib, 64}},
		{80 * mib, 79, true, true, reserve{8 * mib, 64}},
		{80 * mib, 67, true, true, reserve{8 * mib, 56}},
		{80 * mib, 31, true, false, reserve{8 * mib, 24}},
		{80 * mib, 95, true, true, reserve{8 * mib, 24}},
		{80 * mib, 96, false, true, reserve{8 * mib, 64}},
	} {
		f.setFree(step.bytes, step.files)
		if err := f.Writable(); (err != nil) != step.readOnly || err != nil && !errors.Is(err, ErrReadOnly) {
			t.Errorf("step %d: Writable: got %v, want read-only %v", i, err, step.readOnly)
		}
		if err := f.TokenWritable(); (err == nil) != step.token {
			t.Errorf("step %d: TokenWritable: got %v, want success %v", i, err, step.token)
		}
		if held := heldInReserve(f.dir.path); held != step.held {
			t.Errorf("step %d: got %+v in reserve, want %+v", i, held, step.held)
		}
	}
}

// TestDiskLog: the log has one line when the disk turns read-only and one when it recovers. Refusals are logged at
// most once a minute.
func TestDiskLog(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	f := newFakeDisk(t, log)
	for range 3 {
		f.setFree(9<<20, 800)
	}
	for range 100 {
		if f.Writable() == nil {
			t.Fatal("the disk is writable, want read-only")
		}
	}
	f.setFree(80<<20, 800)
	f.setFree(80<<20, 800)
	for what, n := range map[string]int{"level=WARN": 2, "nearly full: read-only": 1, "a write was refused": 1, "level=INFO": 1, "has free space again": 1, "refused=100": 1} {
		if got := strings.Count(log.String(), what); got != n {
			t.Errorf("got %q %d times, want %d:\n%s", what, got, n, log)
		}
	}
}

// TestReserve: the blocks of the reserve are allocated. A size of 0 removes the reserve.
func TestReserve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, r := range []reserve{{3 << 20, 5}, {1 << 20, 9}, {1<<20 + 1, 0}, {0, 3}, {}, {2 << 20, 2}} {
		for range 2 {
			if err := makeReserve(dir, r); err != nil {
				t.Fatal(err)
			}
			if held := heldInReserve(dir); held != r {
				t.Errorf("got %+v in reserve, want %+v", held, r)
			}
		}
	}
	if used := allocatedBytes(t, dir+"/reserve/blocks"); used < 2<<20 {
		t.Errorf("got %d allocated bytes, want at least %d", used, 2<<20)
	}
	if err := makeReserve(dir, reserve{}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("after the removal: got entries %v, error %v", entries, err)
	}
}

// TestRepairPauses: the pauses between repairs double, up to a limit, and start again long after the last repair.
func TestRepairPauses(t *testing.T) {
	t.Parallel()
	var r repair
	now := time.Unix(1_000_000, 0)
	var pauses []time.Duration
	for range 9 {
		if !r.due(now) || r.due(now) || r.due(r.next.Add(-1)) {
			t.Fatal("want a repair that is due once, and again after the pause")
		}
		pauses = append(pauses, r.next.Sub(now))
		now = r.next
	}
	if pauses[0] != minRepairPause || pauses[1] != 2*minRepairPause || pauses[8] != maxRepairPause {
		t.Errorf("got pauses %v, want them doubled from %v to %v", pauses, minRepairPause, maxRepairPause)
	}
	if now = now.Add(2 * maxRepairPause); !r.due(now) || r.next.Sub(now) != minRepairPause {
		t.Errorf("long after the last repair: got a pause of %v, want %v", r.next.Sub(now), minRepairPause)
	}
}

// TestRoomyDisk: a disk is checked often unless much more is free than a program writes in a second.
func TestRoomyDisk(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for _, c := range []struct {
		space
		want bool
	}{
		{space{bytes: amount{500 * gib, 1000 * gib}}, true},
		{space{bytes: amount{500 * gib, 1000 * gib}, files: amount{50 << 20, 60 << 20}}, true},
		{space{bytes: amount{10 * gib, 1000 * gib}}, false},
		{space{bytes: amount{500 * gib, 1000 * gib}, files: amount{10_000, 60 << 20}}, false},
	} {
		d := &Disk{levels: newLevels(c.space, 64<<20), now: c.space}
		if got := d.roomy(); got != c.want {
			t.Errorf("%+v: roomy is %v, want %v", c.space, got, c.want)
		}
		if d.readOnly = true; d.roomy() {
			t.Errorf("%+v: a read-only disk is roomy", c.space)
		}
	}
}
