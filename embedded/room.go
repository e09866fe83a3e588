package embedded

// amount is the free and the total amount of bytes or inodes.
type amount struct{ free, total uint64 }

// room is the free space of a file system.
type room struct {
	bytes amount
	files amount // total is 0 if the file system does not limit files
}

const (
	// leastBytes and leastFiles are the low-water marks of a disk without a reserve.
	leastBytes = 1 << 20
	leastFiles = 8
	// reserveFiles is how many inodes are held in reserve. The NATS server makes a temporary file for each index
	// that it writes.
	reserveFiles = 64
)

// marks are the levels at which the server changes its behavior, in bytes or in inodes.
type marks struct {
	reserve uint64 // size of the reserve, which does not count as free
	low     uint64 // free: below it the server turns read-only
	bottom  uint64 // free: below it a read-only server releases a slice of the reserve
	slice   uint64
	floor   uint64 // free plus reserve: below it the server writes no tokens either
	back    uint64 // free plus reserve: from it on the server accepts writes again
}

// newMarks derives the marks from the configured reserve, which is limited to an eighth of the disk. Writes are accepted
// again when twice the low-water mark is free beside the whole reserve, so that the server does not oscillate.
func newMarks(reserve, total, least uint64) marks {
	m := marks{reserve: min(reserve, total/8)}
	m.low = max(m.reserve/4, least)
	m.bottom = max(m.low/4, least/2)
	m.slice = max(m.reserve/8, least)
	m.floor = max(m.reserve/2, least/2)
	m.back = m.reserve + 2*m.low
	return m
}

// levels are the marks of bytes and of inodes.
type levels struct{ bytes, files marks }

func newLevels(r room, reserve uint64) levels {
	l := levels{bytes: newMarks(reserve, r.bytes.total, leastBytes)}
	if r.files.total > 0 {
		files := uint64(0)
		if reserve > 0 {
			files = reserveFiles
		}
		l.files = newMarks(files, r.files.total, leastFiles)
	}
	return l
}

// low reports whether the disk is nearly full.
func (l levels) low(r room) bool {
	return r.bytes.free < l.bytes.low || r.files.free < l.files.low
}

// exhausted reports whether only the NATS server's own writes may use the space that is left.
func (l levels) exhausted(r room, held reserve) bool {
	return r.bytes.free+held.bytes < l.bytes.floor || r.files.free+held.files < l.files.floor
}

// back reports whether there is enough space to accept writes again.
func (l levels) back(r room, held reserve) bool {
	return r.bytes.free+held.bytes >= l.bytes.back && r.files.free+held.files >= l.files.back
}

// release returns the reserve that a read-only server keeps: a slice less of bytes or inodes that run short.
func (l levels) release(r room, held reserve) reserve {
	if r.bytes.free < l.bytes.bottom {
		held.bytes -= min(held.bytes, l.bytes.slice)
	}
	if r.files.free < l.files.bottom {
		held.files -= min(held.files, l.files.slice)
	}
	return held
}

// whole returns the reserve of a server that is not read-only.
func (l levels) whole() reserve { return reserve{l.bytes.reserve, l.files.reserve} }
