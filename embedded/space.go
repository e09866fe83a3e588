package embedded

// amount is the free and the total amount of bytes or inodes.
type amount struct{ free, total uint64 }

// space is the free space of a file system.
type space struct {
	bytes amount
	files amount // total is 0 if the file system does not limit files
}

const (
	// minBytes and minFiles are the low-water marks of a disk without a reserve.
	minBytes = 1 << 20
	minFiles = 8
	// reserveFiles is how many inodes are held in reserve. The NATS server makes a temporary file for each index
	// that it writes.
	reserveFiles = 64
	// roomyBytes and roomyFiles are what a fast disk takes in a second, and more.
	roomyBytes = 16 << 30
	roomyFiles = 1 << 20
)

// marks are the levels at which the server changes its behavior, in bytes or in inodes.
type marks struct {
	reserve uint64 // size of the reserve, which does not count as free
	low     uint64 // of the free space: below it the server turns read-only
	bottom  uint64 // of the free space: below it a read-only server releases a slice of the reserve
	slice   uint64 // size of a slice
	floor   uint64 // of free space plus reserve: below it the server refuses tokens too
	enough  uint64 // of free space plus reserve: from it on the server accepts writes again
}

// newMarks derives the marks from the configured reserve, which is limited to an eighth of the disk. The server
// accepts writes again when twice the low-water mark is free besides the full reserve, so that it does not oscillate.
func newMarks(reserve, total, minimum uint64) marks {
	m := marks{reserve: min(reserve, total/8)}
	m.low = max(m.reserve/4, minimum)
	m.bottom = max(m.low/4, minimum/2)
	m.slice = max(m.reserve/8, minimum)
	m.floor = max(m.reserve/2, minimum/2)
	m.enough = m.reserve + 2*m.low
	return m
}

// levels are the marks of bytes and of inodes.
type levels struct{ bytes, files marks }

func newLevels(s space, reserve uint64) levels {
	l := levels{bytes: newMarks(reserve, s.bytes.total, minBytes)}
	if s.files.total > 0 {
		files := uint64(0)
		if reserve > 0 {
			files = reserveFiles
		}
		l.files = newMarks(files, s.files.total, minFiles)
	}
	return l
}

// low reports whether the disk is nearly full.
func (l levels) low(s space) bool {
	return s.bytes.free < l.bytes.low || s.files.free < l.files.low
}

// roomy reports whether the free space is much more than a program writes in a second.
func (l levels) roomy(s space) bool {
	return s.bytes.free >= l.bytes.low+roomyBytes && (s.files.total == 0 || s.files.free >= l.files.low+roomyFiles)
}

// exhausted reports whether the remaining space is only for the NATS server's own writes.
func (l levels) exhausted(s space, held reserve) bool {
	return s.bytes.free+held.bytes < l.bytes.floor || s.files.free+held.files < l.files.floor
}

// enough reports whether there is enough space to accept writes again.
func (l levels) enough(s space, held reserve) bool {
	return s.bytes.free+held.bytes >= l.bytes.enough && s.files.free+held.files >= l.files.enough
}

// release returns the reserve that a read-only server keeps: one slice less if bytes or inodes are below the bottom
// mark.
func (l levels) release(s space, held reserve) reserve {
	if s.bytes.free < l.bytes.bottom {
		held.bytes -= min(held.bytes, l.bytes.slice)
	}
	if s.files.free < l.files.bottom {
		held.files -= min(held.files, l.files.slice)
	}
	return held
}

// full returns the reserve of a server that is not read-only.
func (l levels) full() reserve { return reserve{l.bytes.reserve, l.files.reserve} }
