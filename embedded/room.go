package embedded

// amount is how much there is of what a file system can run out of.
type amount struct{ free, total uint64 }

// room is what is free on a file system.
type room struct {
	bytes amount
	files amount // total is 0 where the file system does not limit them
}

const (
	// leastBytes and leastFiles are the low-water marks of a disk on which nothing is held in reserve.
	leastBytes = 1 << 20
	leastFiles = 8
	// reserveFiles is how many inodes are held in reserve. The NATS server makes a temporary file for each index
	// that it writes.
	reserveFiles = 64
)

// marks are the levels of what is free at which the server changes its ways.
type marks struct {
	reserve uint64 // held back, not part of what is free
	low     uint64 // free, below it the server turns read-only
	bottom  uint64 // free, below it a read-only server releases a slice of the reserve
	slice   uint64
	floor   uint64 // free and in reserve, below it not even tokens are written
	back    uint64 // free and in reserve, from it on the server leaves read-only
}

// newMarks derives the marks from the reserve that is wanted, of which a disk gives at most an eighth. When the reserve
// is whole again twice the low-water mark must be left, so that the server does not go back and forth.
func newMarks(reserve, total, least uint64) marks {
	m := marks{reserve: min(reserve, total/8)}
	m.low = max(m.reserve/4, least)
	m.bottom = max(m.low/4, least/2)
	m.slice = max(m.reserve/8, least)
	m.floor = max(m.reserve/2, least/2)
	m.back = m.reserve + 2*m.low
	return m
}

// levels are the marks of both.
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

// low tells that the disk is nearly full.
func (l levels) low(r room) bool {
	return r.bytes.free < l.bytes.low || r.files.free < l.files.low
}

// exhausted tells that what is left is for the NATS server's own writes alone.
func (l levels) exhausted(r room, held reserve) bool {
	return r.bytes.free+held.bytes < l.bytes.floor || r.files.free+held.files < l.files.floor
}

// back tells that there is room for the whole reserve, and for more.
func (l levels) back(r room, held reserve) bool {
	return r.bytes.free+held.bytes >= l.bytes.back && r.files.free+held.files >= l.files.back
}

// release returns what a read-only server goes on holding: a slice less of what it is short of.
func (l levels) release(r room, held reserve) reserve {
	if r.bytes.free < l.bytes.bottom {
		held.bytes -= min(held.bytes, l.bytes.slice)
	}
	if r.files.free < l.files.bottom {
		held.files -= min(held.files, l.files.slice)
	}
	return held
}

// whole is the reserve of a server that is not read-only.
func (l levels) whole() reserve { return reserve{l.bytes.reserve, l.files.reserve} }
