package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrReadOnly: the disk is nearly full, and what would have to be stored is refused before it is tried.
var ErrReadOnly = errors.New("read-only")

const (
	// lookEvery is how often the room on the disk is looked at.
	lookEvery = 100 * time.Millisecond
	// lookAge is how long a look counts for the writes that come after it.
	lookAge = 5 * time.Millisecond
	// refusalsEvery is how often the log tells that writes are refused.
	refusalsEvery = time.Minute
)

// Disk watches the room on the data directory's disk. When little is left it turns read-only: it refuses durable writes.
// When next to nothing is left it releases the reserve, on which the NATS server's own writes live from then on: by slices,
// and not before the disk is as good as full, since whatever fills the disk would take that room too. When there is room
// again it makes the reserve whole and takes writes again. All methods may be called from any goroutine.
type Disk struct {
	dir    *Dir
	log    *slog.Logger
	levels levels
	room   func() (room, error) // replaced by tests

	open  atomic.Int64 // until when writes are taken without another look, in nanoseconds since start
	start time.Time

	mu       sync.Mutex // guards what follows
	readOnly bool
	why      string // it is read-only
	now      room
	held     reserve
	looked   time.Time
	refused  int       // writes since they were last told of
	told     time.Time // that they are refused
}

// DiskState is what there is to be known of the disk.
type DiskState struct {
	FreeBytes uint64 // without a reserve that is held
	FreeFiles uint64 // likewise; 0 where the file system does not limit files
}

// newDisk makes the reserve. Where there is no room for it the disk begins read-only.
func newDisk(dir *Dir, size int64, log *slog.Logger) (*Disk, error) {
	d := &Disk{dir: dir, log: log, start: time.Now(), room: func() (room, error) { return roomOf(dir.path) }}
	if err := d.begin(size); err != nil {
		return nil, dir.explain("look how much room there is", err)
	}
	return d, nil
}

func (d *Disk) begin(size int64) (err error) {
	if d.now, err = d.room(); err != nil {
		return err
	}
	d.looked, d.held = time.Now(), heldInReserve(d.dir.path)
	d.levels = newLevels(d.now, uint64(max(size, 0)))
	l, whole := d.levels, d.levels.whole()
	enough := d.now.bytes.free+d.held.bytes >= whole.bytes+l.bytes.low && d.now.files.free+d.held.files >= whole.files+l.files.low
	if !enough || d.hold(whole) != nil {
		d.enter("")
	}
	return nil
}

// Writable is nil while durable writes are taken, and otherwise an ErrReadOnly that says why not. It costs next to
// nothing: what it looks at is at most a few milliseconds old.
func (d *Disk) Writable() error {
	if int64(time.Since(d.start)) < d.open.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	err := d.state()
	if err != nil {
		d.tellRefusal()
	}
	return err
}

// TokenWritable is Writable for the token of a login, which may use a part of the reserve.
func (d *Disk) TokenWritable() error {
	if int64(time.Since(d.start)) < d.open.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	err := d.state()
	if err == nil || !d.levels.exhausted(d.now, d.held) {
		return nil
	}
	d.tellRefusal()
	return err
}

// ReadOnly is an ErrReadOnly that says why durable writes are refused; nil while they are not.
func (d *Disk) ReadOnly() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state()
}

// State looks at the disk.
func (d *Disk) State() DiskState {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	return DiskState{FreeBytes: d.now.bytes.free, FreeFiles: d.now.files.free}
}

// CountsFiles tells whether the file system limits files.
func (d *Disk) CountsFiles() bool { return d.levels.files != marks{} }

// state requires d.mu, as all that follow do.
func (d *Disk) state() error {
	if !d.readOnly {
		return nil
	}
	text := "disk nearly full: " + mebibytes(d.now.bytes.free)
	if d.now.files.total > 0 {
		text += fmt.Sprintf(" and %d inodes", d.now.files.free)
	}
	text += " free at " + d.dir.path
	if d.why != "" {
		text += " (" + d.why + ")"
	}
	return fmt.Errorf("%w: %s", ErrReadOnly, text)
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// look brings what is known of the disk up to date, and turns read-only where too little is left.
func (d *Disk) look() {
	if time.Since(d.looked) < lookAge {
		return
	}
	now, err := d.room()
	d.looked = time.Now()
	if err != nil {
		// Nothing is known then, and NATS's own error tells whether a write succeeds.
		d.log.Debug("look how much room there is on the disk", "err", err)
		return
	}
	d.now = now
	switch {
	case d.readOnly:
		d.release()
	case d.levels.low(now):
		d.enter("")
	default:
		d.open.Store(int64(d.looked.Add(lookAge).Sub(d.start)))
	}
}

// release makes room for the NATS server's own writes while there is none.
func (d *Disk) release() {
	for {
		held := d.levels.release(d.now, d.held)
		if held == d.held || d.hold(held) != nil {
			return
		}
	}
}

// hold brings the reserve to this size, and looks how much room that leaves.
func (d *Disk) hold(size reserve) error {
	err := makeReserve(d.dir.path, size)
	d.held = heldInReserve(d.dir.path)
	if now, lost := d.room(); lost == nil {
		d.now = now
	}
	if err != nil {
		d.log.Debug("change the disk reserve", "err", err)
	}
	return err
}

// enter turns read-only.
func (d *Disk) enter(why string) {
	d.open.Store(0)
	free := d.now
	d.release()
	if d.readOnly {
		return
	}
	d.readOnly, d.why = true, why
	d.refused, d.told = 0, time.Time{}
	attrs := []any{"free", mebibytes(free.bytes.free), "in_reserve", mebibytes(d.held.bytes), "data", d.dir.path}
	if free.files.total > 0 {
		attrs = append(attrs, "inodes", free.files.free)
	}
	if why != "" {
		attrs = append(attrs, "why", why)
	}
	d.log.Warn("disk is nearly full: read-only: dialogues go on, and what would have to be stored is refused; make room", attrs...)
}

// failed turns read-only since a write that was tried has failed.
func (d *Disk) failed(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.enter(why)
}

// yield releases a slice of the reserve although there seems to be room: a quota may leave less than the file system has.
func (d *Disk) yield() {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.levels
	_ = d.hold(reserve{d.held.bytes - min(d.held.bytes, l.bytes.slice), d.held.files - min(d.held.files, l.files.slice)}) // it has logged it
}

// tick looks at the disk.
func (d *Disk) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
}

// recover takes writes again where there is room for the reserve and more. A quota may leave less than the file system
// has: so some of the room beyond the reserve is allocated too, and given back.
func (d *Disk) recover() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	l := d.levels
	if !d.readOnly || !l.back(d.now, d.held) {
		return
	}
	before := d.held
	if d.hold(reserve{l.bytes.reserve + l.bytes.low, l.files.reserve + l.files.low}) != nil || d.hold(l.whole()) != nil || l.low(d.now) {
		_ = d.hold(before) // it has logged it
		d.release()
		return
	}
	d.readOnly, d.why = false, ""
	d.log.Info("the disk has room again: writes are taken", "free", mebibytes(d.now.bytes.free), "refused", d.refused)
}

// tellRefusal logs that writes are refused, now and then.
func (d *Disk) tellRefusal() {
	d.refused++
	if time.Since(d.told) < refusalsEvery {
		return
	}
	d.told = time.Now()
	d.log.Warn("a write was refused: the disk is nearly full", "refused", d.refused, "free", mebibytes(d.now.bytes.free))
}
