package tunnel

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"imctl/bridge/delivery"
)

// linger is how long a closed connection waits for the peer to read its last frames.
const linger = time.Second

// outgoing is what the session owes once a frame is on the socket.
type outgoing struct {
	dialogue bool             // the frame is a dialogue:
	receipt  delivery.Receipt // its sender waits for this
	kept     bool             // the dialogue is kept, and no receipt is owed
	with     string           // for a session that does not acknowledge by itself: it has the dialogues with this user
	n        uint64           // up to n
	answer   bool             // the frame answers one of this session, which then has one frame fewer in flight
	notice   bool             // the frame is a notice: it does not count among the frames
}

// conn is the net.Conn under a session's WebSocket. All writes to the socket go through it: the frames of the session,
// and what the WebSocket library writes on its own (the handshake, pings, close frames). conn gathers frames in a
// buffer, and flush writes them at once, in one write that does not wait. If the socket does not take all bytes, a
// goroutine writes the rest and ends when the buffer is empty. So a peer that does not read delays no other session.
// conn settles what is owed for frames when the write that carried them has succeeded, or has failed for good.
type conn struct {
	net.Conn
	timeout time.Duration // for a write that has to wait
	budget  budget        // of the bytes of dialogues that wait
	owner   owner
	try     func(p []byte) (int, error) // writes without waiting; nil if the system cannot, or under TLS
	writers sync.WaitGroup

	read   func() (*buffer, error) // reads the available bytes into a shared buffer; nil: ordinary reads, as under TLS
	unread *buffer                 // bytes that Read has not returned yet, from taken on; the reader's
	taken  int

	made    time.Time
	silence time.Duration // how long a read may wait for the peer; 0: until the read deadline
	waiting atomic.Int64  // when the waiting read began, see now; 0: no read is waiting

	mu        sync.Mutex // guards the fields below
	held      bool       // frames wait for the handshake
	out       *buffer    // gathered frames; nil: none
	frames    int        // in out or being written, without notices
	notices   int        // in out or being written
	news      notices    // wait until the connection is no longer busy
	dialogues int        // of these frames
	bytes     int        // of these dialogues
	writing   bool       // a goroutine is writing; it also drains later additions
	refusing  bool       // no more dialogues are accepted
	discarded bool       // the peer reads no more: dialogues written from now on do not count as delivered
	closed    bool
	err       error // the first failed write; nothing is written after it
	watch     watch
}

// owner is told what becomes of a connection and its frames. A Session is one. conn calls it without mu.
type owner interface {
	settle(owed []outgoing, err error)
	refresh(missed map[string]bool) // after the last frame is written, if notices were dropped
	ending(dead bool)               // before a close frame is written, and with dead after the connection failed
	ping()                          // asks the peer for a sign of life
	cutOff()                        // ends the session of a silent peer
}

// noOwner owns a connection without a session.
type noOwner struct{}

func (noOwner) settle([]outgoing, error) {}
func (noOwner) refresh(map[string]bool)  {}
func (noOwner) ending(bool)              {}
func (noOwner) ping()                    {}
func (noOwner) cutOff()                  {}

// budget bounds the bytes that wait for all sessions. governor.Governor is one.
type budget interface {
	// Wait counts n bytes for a session that has waiting ones already, unless there are too many.
	Wait(n, waiting int) bool
	// Sent takes n bytes back.
	Sent(n int)
}

func newConn(c net.Conn, timeout time.Duration, b budget) *conn {
	t := &conn{Conn: c, timeout: timeout, budget: b, held: true, made: time.Now(), owner: noOwner{}}
	t.try, t.read = socketOf(c)
	return t
}

// Read reads all available bytes at once: frames that arrive together cost one read. A connection that waits for bytes
// holds no buffer.
func (c *conn) Read(p []byte) (int, error) {
	if c.unread == nil {
		n, err := c.wait(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	n := copy(p, c.unread.b[c.taken:])
	if c.taken += n; c.taken == len(c.unread.b) {
		readBuffers.Put(c.unread)
		c.unread = nil
	}
	return n, nil
}

// errFull: as many frames are waiting as may. errBytes: too many bytes are waiting, for all sessions together.
var (
	errFull  = errors.New("too many frames are waiting")
	errBytes = errors.New("too many bytes are waiting")
)

// add gathers a text frame, unless limit frames are waiting. For a dialogue, only dialogues count. A nil frame is not
// written, but what is owed for it is settled in its turn.
func (c *conn) add(frame []byte, o outgoing, limit int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.frames
	if o.dialogue {
		waiting = c.dialogues
	}
	switch {
	case c.err != nil:
		return c.err
	case c.closed || o.dialogue && c.refusing:
		return net.ErrClosed
	case waiting >= limit:
		return errFull
	}
	if o.dialogue && !c.budget.Wait(len(frame), c.bytes) {
		return errBytes
	}
	c.frames++
	if c.out == nil {
		c.out = getBuffer()
	}
	if o.dialogue {
		c.dialogues++
		c.bytes += len(frame)
		c.out.dialogues += len(frame)
	}
	if frame != nil {
		c.out.b = appendFrame(c.out.b, frame)
	}
	c.out.owed = append(c.out.owed, o)
	return nil
}

// prepend puts a frame in front of those that wait for the handshake.
func (c *conn) prepend(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames++
	out := getBuffer()
	out.b = appendFrame(out.b, frame)
	out.owed = append(out.owed, outgoing{})
	if c.out != nil {
		out.b, out.owed, out.dialogues = append(out.b, c.out.b...), append(out.owed, c.out.owed...), c.out.dialogues
	}
	c.out = out
}

// release lets frames go that waited for the handshake.
func (c *conn) release() {
	c.mu.Lock()
	c.held = false
	c.mu.Unlock()
	c.flush()
}

// First bytes of unfragmented frames.
const (
	opText    = 0x81
	opClosing = 0x88
)

func appendFrame(dst, payload []byte) []byte {
	return append(appendHeader(dst, opText, len(payload)), payload...)
}

// appendHeader appends the header of a frame with n bytes of payload.
func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, first, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

// Write is for the WebSocket library. It queues the library's frames behind the waiting frames, and writes the
// handshake at once. The library may close the connection by itself: no dialogue is accepted after a close frame.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == opClosing {
		c.owner.ending(false)
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return 0, c.err
	}
	if c.held {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	if c.out == nil {
		c.out = getBuffer()
	}
	c.out.b = append(c.out.b, p...)
	c.mu.Unlock()
	c.flush()
	return len(p), nil
}

// flush writes the gathered frames, unless another goroutine is writing them.
func (c *conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing || c.held {
		return
	}
	c.writing = true
	for c.pending() && c.err == nil {
		out := c.take()
		if c.try == nil {
			c.writers.Go(func() { c.drain(out, out.b) })
			return
		}
		c.mu.Unlock()
		n, err := c.try(out.b)
		if err == nil && n < len(out.b) {
			c.writers.Go(func() { c.drain(out, out.b[n:]) })
			c.mu.Lock()
			return // drain is writing
		}
		c.wrote(out, err)
		c.mu.Lock()
	}
	c.writing = false
}

// drain writes the rest of a buffer, and the frames that are gathered meanwhile. It waits for the socket.
func (c *conn) drain(out *buffer, rest []byte) {
	for {
		c.mu.Lock()
		if !c.closed { // otherwise shut has set the last deadline
			c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
		}
		c.mu.Unlock()
		_, err := c.Conn.Write(rest)
		c.wrote(out, err)
		c.mu.Lock()
		if !c.pending() || c.err != nil {
			break
		}
		out = c.take()
		rest = out.b
		c.mu.Unlock()
	}
	defer c.mu.Unlock()
	c.writing = false
	if c.closed {
		c.halfClose()
	} else {
		c.Conn.SetWriteDeadline(time.Time{})
	}
}

// pending reports whether frames wait to be written. Called with mu held.
func (c *conn) pending() bool { return c.out != nil || len(c.news.waiting) > 0 }

// take takes the gathered frames and the waiting notices. Called with mu held.
func (c *conn) take() *buffer {
	c.gatherWaiting()
	out := c.out
	c.out = nil
	return out
}

// wrote settles what is owed for a write. After a failed write it closes the connection.
func (c *conn) wrote(out *buffer, err error) {
	if out == nil {
		return
	}
	owed, dialogues, notices := out.owed, 0, 0
	for _, o := range owed {
		if o.dialogue {
			dialogues++
		}
		if o.notice {
			notices++
		}
	}
	var missed map[string]bool
	c.mu.Lock()
	c.frames -= len(owed) - notices
	c.dialogues -= dialogues
	c.bytes -= out.dialogues
	c.budget.Sent(out.dialogues)
	c.notices -= notices
	if err != nil && c.err == nil {
		c.err = err
	}
	settled := err
	if err == nil && c.discarded {
		settled = net.ErrClosed
	}
	if err == nil && out.dialogues > 0 { // not for a frame that was not written
		c.dialogueWritten()
	}
	if err == nil {
		missed = c.takeMissed()
	}
	c.mu.Unlock()
	if missed != nil {
		c.owner.refresh(missed)
	}
	if err != nil {
		c.owner.ending(true)
	}
	if len(owed) > 0 {
		c.owner.settle(owed, settled)
	}
	out.free()
	if err != nil {
		c.Conn.Close()
	}
}

// refuse makes the connection accept no more dialogues. It still accepts other frames.
func (c *conn) refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gatherWaiting()
	c.refusing = true
}

// discard makes all dialogues that are written from now on count as undelivered, since the peer has closed or is
// silent.
func (c *conn) discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing, c.discarded, c.news = true, true, notices{}
}

// Close does nothing. It is for the WebSocket library, which closes the connection at times when the session goes on
// (noWriter), or closes it itself.
func (c *conn) Close() error { return nil }

// shut writes the gathered frames and closes the sending half. The receiving half stays open for linger, since closing
// it with unread bytes would reset the connection and lose the last frames. The owner of the connection calls finish
// then. shut may be called repeatedly.
func (c *conn) shut() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	c.stopWatch()
	c.Conn.SetDeadline(time.Now().Add(linger))
	c.mu.Unlock()
	c.flush()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writing {
		c.halfClose()
	}
}

// halfClose tells the peer that nothing follows. Called with mu held.
func (c *conn) halfClose() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || c.err != nil || half.CloseWrite() != nil {
		c.Conn.Close()
	}
}

// SetReadDeadline keeps the deadline of linger once the connection is closed: a late pong must not extend it.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline does nothing: the WebSocket library's writes never wait, and the writes to the socket set their own
// deadlines.
func (c *conn) SetWriteDeadline(t time.Time) error { return nil }

// finish closes the connection after the peer has had linger to read the last frames. When it returns, everything that
// was owed is settled.
func (c *conn) finish() {
	c.shut()
	c.writers.Wait()
	var unread [256]byte
	for {
		if _, err := c.Read(unread[:]); err != nil {
			break
		}
	}
	c.Kill()
}

// Kill closes the connection at once.
func (c *conn) Kill() {
	c.Conn.Close()
	c.mu.Lock()
	c.closed = true
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.stopWatch()
	err := c.err
	c.news = notices{}
	out := c.take()
	c.mu.Unlock()
	c.owner.ending(true)
	c.wrote(out, err)
}

// buffer holds gathered frames, and what is owed for them. Buffers are pooled: a connection has one only while it has
// frames to write.
type buffer struct {
	b         []byte
	owed      []outgoing
	dialogues int // bytes of the dialogues in b
}

const (
	bufferSize = 1 << 10
	maxBuffer  = 64 << 10 // larger ones are not pooled
)

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, bufferSize)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) free() {
	if cap(b.b) <= maxBuffer {
		clear(b.owed)
		b.b, b.owed, b.dialogues = b.b[:0], b.owed[:0], 0
		buffers.Put(b)
	}
}

// readBuffers are buffers for reads.
var readBuffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 8<<10)} }}

// socketOf returns two functions for a plain socket. try writes without waiting, and read waits without holding a
// buffer. Both are nil for other connections, such as TLS.
func socketOf(c net.Conn) (try func([]byte) (int, error), read func() (*buffer, error)) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, nil
	}
	return tryWrite(raw), tryRead(raw)
}
