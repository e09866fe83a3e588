package bridge

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// linger is how long a closed connection waits for the peer to read its last frames before it is torn down.
const linger = time.Second

// outgoing is what is owed once a frame is on the socket.
type outgoing struct {
	dialogue bool      // the frame delivers a dialogue: somebody waits to hear of it,
	delivery *delivery // which other sessions have a part in,
	reply    string    // or none: then this is who
	answer   bool      // the frame answers one of this session: its place in flight becomes free
}

// tunnelConn is the net.Conn under a session's WebSocket, and all that is written to the socket goes through it: the
// frames of the session, and what the WebSocket library writes by itself (the handshake, pings, close frames). Frames are
// gathered in a buffer and leave together when it is flushed, in one write. Whoever flushes tries the socket without
// waiting for it; what the socket does not take at once is left to a goroutine that lives until the buffer is empty,
// so a peer that does not read keeps nobody waiting. What is owed for frames is settled when the write that
// carried them has succeeded, or will never.
type tunnelConn struct {
	net.Conn
	timeout time.Duration // for a write that has to wait
	settle  func(owed []outgoing, err error)
	ending  func(dead bool)             // called before a close frame is written, or, with dead, after the connection failed; without mu
	try     func(p []byte) (int, error) // a write that does not wait; nil where there is none (TLS)
	writers sync.WaitGroup

	read   func() (*buffer, error) // reads what there is into a shared buffer; nil: reads are ordinary ones (TLS)
	unread *buffer                 // what was read and not asked for yet, from taken on; the reader's
	taken  int

	made    time.Time
	silence time.Duration // how long a read may wait for the peer; 0: until the deadline of SetReadDeadline
	waiting atomic.Int64  // when the read began that is waiting for the peer, as of now; 0: no read is waiting

	mu        sync.Mutex // guards the fields below
	held      bool       // frames wait for the handshake
	out       *buffer    // gathered frames; nil: none
	frames    int        // in out or being written
	dialogues int        // of these frames
	writing   bool       // a goroutine is writing; it also drains later additions
	refusing  bool       // no more dialogues are accepted
	deaf      bool       // the peer reads no more: dialogues written from now on do not count as delivered
	closed    bool
	err       error // the first failed write; nothing is written after it
	watch     watch

	dirty bool // it is in its lane's list; guarded by the lane
}

func newTunnelConn(c net.Conn, timeout time.Duration) *tunnelConn {
	t := &tunnelConn{Conn: c, timeout: timeout, held: true, made: time.Now(), settle: func([]outgoing, error) {}, ending: func(bool) {}}
	t.try, t.read = socketOf(c)
	return t
}

// Read reads all available bytes at once: frames that arrive together cost one read. A connection that waits for bytes
// holds no buffer.
func (c *tunnelConn) Read(p []byte) (int, error) {
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

// errFull is why a frame was not added.
var errFull = errors.New("too many frames are waiting")

// add gathers a text frame, unless as many as most are waiting, which count dialogues only if this is one.
func (c *tunnelConn) add(frame []byte, o outgoing, most int) error {
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
	case waiting >= most:
		return errFull
	}
	c.frames++
	if o.dialogue {
		c.dialogues++
	}
	if c.out == nil {
		c.out = getBuffer()
	}
	c.out.b = appendFrame(c.out.b, frame)
	c.out.owed = append(c.out.owed, o)
	return nil
}

// first puts a frame before all that wait for the handshake, and lets them go.
func (c *tunnelConn) first(frame []byte) {
	c.mu.Lock()
	c.held = false
	c.frames++
	out := getBuffer()
	out.b = appendFrame(out.b, frame)
	out.owed = append(out.owed, outgoing{})
	if c.out != nil {
		out.b, out.owed = append(out.b, c.out.b...), append(out.owed, c.out.owed...)
	}
	c.out = out
	c.mu.Unlock()
	c.flush()
}

// First bytes of unfragmented frames.
const (
	opText    = 0x81
	opClosing = 0x88
)

func appendFrame(dst, payload []byte) []byte {
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, opText, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, opText, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, opText, 127), uint64(n))
	}
	return append(dst, payload...)
}

// Write is for the WebSocket library. It queues the library's frames behind the waiting frames, and writes the handshake
// at once. The library may close the connection by itself: no dialogue is accepted after a close frame.
func (c *tunnelConn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == opClosing {
		c.ending(false)
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

// flush writes what is gathered, unless somebody is at it.
func (c *tunnelConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing || c.held {
		return
	}
	c.writing = true
	for c.out != nil && c.err == nil {
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
			return // it is still writing
		}
		c.wrote(out, err)
		c.mu.Lock()
	}
	c.writing = false
}

// drain writes the rest of what was taken, and all that is gathered meanwhile, waiting for the socket.
func (c *tunnelConn) drain(out *buffer, rest []byte) {
	for {
		c.mu.Lock()
		if !c.closed { // Close has set the last one
			c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
		}
		c.mu.Unlock()
		_, err := c.Conn.Write(rest)
		c.wrote(out, err)
		c.mu.Lock()
		if c.out == nil || c.err != nil {
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

// take takes what is gathered. Called with mu held.
func (c *tunnelConn) take() *buffer {
	out := c.out
	c.out = nil
	return out
}

// wrote settles what was owed for a write. A connection that could not be written to is of no use any more.
func (c *tunnelConn) wrote(out *buffer, err error) {
	if out == nil {
		return
	}
	owed, dialogues := out.owed, 0
	for _, o := range owed {
		if o.dialogue {
			dialogues++
		}
	}
	c.mu.Lock()
	c.frames -= len(owed)
	c.dialogues -= dialogues
	if err != nil && c.err == nil {
		c.err = err
	}
	settled := err
	if err == nil && c.deaf {
		settled = net.ErrClosed
	}
	if err == nil && dialogues > 0 {
		c.dialogueWritten()
	}
	c.mu.Unlock()
	if err != nil {
		c.ending(true)
	}
	if len(owed) > 0 {
		c.settle(owed, settled)
	}
	out.free()
	if err != nil {
		c.Conn.Close()
	}
}

// refuse makes the connection accept no more dialogues. It still accepts other frames.
func (c *tunnelConn) refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing = true
}

// deafen makes dialogues that are still to be written count as undelivered, since the peer has closed or is silent.
func (c *tunnelConn) deafen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing, c.deaf = true, true
}

// Close writes what is gathered and closes the sending half. The receiving half stays open for as long as linger, since
// closing it with unread bytes in it would reset the connection and lose the last frames. Whoever owns the connection
// calls finish then.
func (c *tunnelConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
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
	return nil
}

// halfClose tells the peer that nothing follows. Called with mu held.
func (c *tunnelConn) halfClose() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || c.err != nil || half.CloseWrite() != nil {
		c.Conn.Close()
	}
}

// SetReadDeadline keeps the linger's deadline once the connection is closed: a late pong must not prolong it.
func (c *tunnelConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is for the WebSocket library, whose writes never wait: the writes to the socket have deadlines of
// their own.
func (c *tunnelConn) SetWriteDeadline(t time.Time) error { return nil }

// finish closes the connection for good, once the peer has had its time to read the last frames. What is owed is settled
// when it returns.
func (c *tunnelConn) finish() {
	c.Close()
	c.writers.Wait()
	var unread [256]byte
	for {
		if _, err := c.Read(unread[:]); err != nil {
			break
		}
	}
	c.Kill()
}

// Kill closes the connection at once, whatever is under way on it.
func (c *tunnelConn) Kill() {
	c.Conn.Close()
	c.mu.Lock()
	c.closed = true
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.stopWatch()
	err := c.err
	out := c.take()
	c.mu.Unlock()
	c.ending(true)
	c.wrote(out, err)
}

// buffer holds the frames that a connection gathers, and what is owed for them. Buffers are shared: a connection has one only while it has something to write.
type buffer struct {
	b    []byte
	owed []outgoing
}

const (
	bufferSize = 1 << 10
	bufferMost = 64 << 10 // larger ones are not kept
)

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, bufferSize)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) free() {
	if cap(b.b) <= bufferMost {
		clear(b.owed)
		b.b, b.owed = b.b[:0], b.owed[:0]
		buffers.Put(b)
	}
}

// readBuffers are for what is read from sockets.
var readBuffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 8<<10)} }}

// socketOf returns functions that write to the socket what it takes without waiting, and that read from it without
// holding a buffer, or nil where there is no socket of ours below, as under TLS.
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
