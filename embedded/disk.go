package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrReadOnly means that the disk is nearly full and durable writes are refused.
var ErrReadOnly = errors.New("read-only")

const (
	// checkEvery is how often the free disk space is checked. A disk with much space is checked every watchEvery.
	checkEvery = 100 * time.Millisecond
	// checkAge is how long a write relies on the last check.
	checkAge = 5 * time.Millisecond
	// refusalsEvery is how often refused writes are logged.
	refusalsEvery = time.Minute
)

// Disk watches the free space on the data directory's disk. When little is left it turns read-only: it refuses
// durable writes. When almost nothing is left it releases the reserve in slices for the NATS server's own writes,
// such as indexes. An earlier release would give the space to the program that fills the disk. When there is enough
// free space again, Disk allocates the reserve again and accepts writes. All methods may be called from any
// goroutine.
type Disk struct {
	dir    *Dir
	log    *slog.Logger
	levels levels
	space  func() (space, error) // reads the free space; replaced by tests

	writableUntil atomic.Int64 // writes are accepted without another check until then, in nanoseconds since start
	start         time.Time

	mu       sync.Mutex // guards the fields below
	readOnly bool
	reason   string // the failed write that made it read-only, "" if the cause is the free space
	now      space
	held     reserve
	checked  time.Time
	refused  int       // writes refused while read-only
	logged   time.Time // when the last refusal was logged
}

// DiskState is the free space of the disk.
type DiskState struct {
	FreeBytes  uint64 // the reserve does not count as free
	TotalBytes uint64
	FreeFiles  uint64 // inodes outside of the reserve; 0 if the file system does not limit files
	TotalFiles uint64 // 0 if the file system does not limit files
}

// DiskOf returns the state of the disk of a path, without a change to it. It works while a server runs there.
func DiskOf(path string) (DiskState, error) {
	s, err := spaceOf(path)
	if err != nil {
		return DiskState{}, explain(path, "read the free disk space", err)
	}
	return s.state(), nil
}

func (s space) state() DiskState {
	return DiskState{FreeBytes: s.bytes.free, TotalBytes: s.bytes.total, FreeFiles: s.files.free, TotalFiles: s.files.total}
}

// newDisk allocates the reserve. If there is not enough space for it, the disk starts read-only.
func newDisk(dir *Dir, size int64, log *slog.Logger) (*Disk, error) {
	d := &Disk{dir: dir, log: log, start: time.Now(), space: func() (space, error) { return spaceOf(dir.path) }}
	if err := d.begin(size); err != nil {
		return nil, dir.explain("read the free disk space", err)
	}
	return d, nil
}

// begin reads the free space and allocates a reserve of size bytes.
func (d *Disk) begin(size int64) (err error) {
	if d.now, err = d.space(); err != nil {
		return err
	}
	d.checked, d.held = time.Now(), heldInReserve(d.dir.path)
	d.levels = newLevels(d.now, uint64(max(size, 0)))
	l, full := d.levels, d.levels.full()
	enough := d.now.bytes.free+d.held.bytes >= full.bytes+l.bytes.low && d.now.files.free+d.held.files >= full.files+l.files.low
	if !enough || d.hold(full) != nil {
		d.setReadOnly("")
	}
	return nil
}

// Writable returns nil while durable writes are accepted, and otherwise an ErrReadOnly with the reason. It is cheap:
// it relies on the last check for checkAge.
func (d *Disk) Writable() error { return d.writable(false) }

// TokenWritable is Writable for the token of a login, which is also written while the disk is read-only if most of the
// reserve is left.
func (d *Disk) TokenWritable() error { return d.writable(true) }

func (d *Disk) writable(token bool) error {
	if int64(time.Since(d.start)) < d.writableUntil.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	err := d.state()
	if err == nil || token && !d.levels.exhausted(d.now, d.held) {
		return nil
	}
	d.countRefusal()
	return err
}

// ReadOnly returns an ErrReadOnly with the reason while durable writes are refused, and otherwise nil.
func (d *Disk) ReadOnly() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state()
}

// State returns the free space of the disk.
func (d *Disk) State() DiskState {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	return d.now.state()
}

// CountsFiles reports whether the file system limits files.
func (d *Disk) CountsFiles() bool { return d.levels.files != marks{} }

// state returns nil or an ErrReadOnly. It is called with d.mu held, as are refresh, release, hold, setReadOnly and
// countRefusal.
func (d *Disk) state() error {
	if !d.readOnly {
		return nil
	}
	text := "disk nearly full: " + mebibytes(d.now.bytes.free)
	if d.now.files.total > 0 {
		text += fmt.Sprintf(" and %d inodes", d.now.files.free)
	}
	text += " free at " + d.dir.path
	if d.reason != "" {
		text += " (" + d.reason + ")"
	}
	return fmt.Errorf("%w: %s", ErrReadOnly, text)
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// refresh checks the free space, unless the last check is recent. It turns the disk read-only if too little is left.
func (d *Disk) refresh() {
	if time.Since(d.checked) < checkAge {
		return
	}
	now, err := d.space()
	d.checked = time.Now()
	if err != nil {
		// The free space is unknown. If a write fails, the NATS server reports it.
		d.log.Debug("read the free disk space", "err", err)
		return
	}
	d.now = now
	switch {
	case d.readOnly:
		d.release()
	case d.levels.low(now):
		d.setReadOnly("")
	default:
		d.writableUntil.Store(int64(d.checked.Add(checkAge).Sub(d.start)))
	}
}

// release releases slices of the reserve until there is enough space for the NATS server's own writes.
func (d *Disk) release() {
	for {
		held := d.levels.release(d.now, d.held)
		if held == d.held || d.hold(held) != nil {
			return
		}
	}
}

// hold changes the reserve to this size and reads the free space again.
func (d *Disk) hold(size reserve) error {
	err := makeReserve(d.dir.path, size)
	d.held = heldInReserve(d.dir.path)
	if now, spaceErr := d.space(); spaceErr == nil {
		d.now = now
	}
	if err != nil {
		d.log.Debug("change the disk reserve", "err", err)
	}
	return err
}

// setReadOnly turns the disk read-only. reason is the failed write that shows it, "" if there is none.
func (d *Disk) setReadOnly(reason string) {
	d.writableUntil.Store(0)
	free := d.now
	d.release()
	if d.readOnly {
		return
	}
	d.readOnly, d.reason = true, reason
	d.refused, d.logged = 0, time.Time{}
	attrs := []any{"free", mebibytes(free.bytes.free), "in_reserve", mebibytes(d.held.bytes), "data", d.dir.path}
	if free.files.total > 0 {
		attrs = append(attrs, "inodes", free.files.free)
	}
	if reason != "" {
		attrs = append(attrs, "reason", reason)
	}
	d.log.Warn("disk is nearly full: read-only: dialogues go on, durable writes are refused; free disk space", attrs...)
}

// writeFailed turns the disk read-only after a write that failed.
func (d *Disk) writeFailed(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setReadOnly(reason)
}

// releaseSlice releases a slice of the reserve even if the file system reports free space: a quota may allow less.
func (d *Disk) releaseSlice() {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.levels
	// hold logs the error.
	_ = d.hold(reserve{d.held.bytes - min(d.held.bytes, l.bytes.slice), d.held.files - min(d.held.files, l.files.slice)})
}

// tick checks the free space.
func (d *Disk) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
}

// roomy reports whether it is enough to check the free space every watchEvery. Durable writes check it by themselves.
func (d *Disk) roomy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.readOnly && d.levels.roomy(d.now)
}

// recover accepts writes again if there is space for the reserve and more. A quota may allow less than the file system
// reports. So recover tries to allocate more than the reserve, and frees the excess.
func (d *Disk) recover() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	l := d.levels
	if !d.readOnly || !l.enough(d.now, d.held) {
		return
	}
	before := d.held
	if d.hold(reserve{l.bytes.reserve + l.bytes.low, l.files.reserve + l.files.low}) != nil || d.hold(l.full()) != nil || l.low(d.now) {
		_ = d.hold(before) // hold logs the error
		d.release()
		return
	}
	d.readOnly, d.reason = false, ""
	d.log.Info("the disk has free space again: writes are accepted", "free", mebibytes(d.now.bytes.free), "refused", d.refused)
}

// countRefusal counts a refused write. It logs the count at most once in refusalsEvery.
func (d *Disk) countRefusal() {
	d.refused++
	if time.Since(d.logged) < refusalsEvery {
		return
	}
	d.logged = time.Now()
	d.log.Warn("a write was refused: the disk is nearly full", "refused", d.refused, "free", mebibytes(d.now.bytes.free))
}
