package bridge

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// flushAt is how many bytes of frames are gathered before they are written although more are waiting: one TLS record.
const flushAt = 16 << 10

// linger is how long a closed connection waits for the peer to read its last frames before it is torn down.
const linger = time.Second

// tunnelConn is the net.Conn under a session's WebSocket. While the session has frames on their way through
// melody's write pump it gathers what is written, so that frames that wait for each other leave in one write; the
// session flushes when none is left. Whatever is written at any other time (the handshake, a ping, a close frame)
// goes out at once, behind what was gathered.
type tunnelConn struct {
	net.Conn

	pumping atomic.Int32 // frames handed to the pump whose sent callback has not run yet

	mu     sync.Mutex // guards buf, err and the order of writes
	buf    []byte
	err    error
	closed atomic.Bool
}

var framePool = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func (c *tunnelConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.pumping.Load() == 0 && len(c.buf) == 0 {
		n, err := c.Conn.Write(p)
		c.err = err
		return n, err
	}
	if c.buf == nil {
		c.buf = (*framePool.Get().(*[]byte))[:0]
	}
	c.buf = append(c.buf, p...)
	if c.pumping.Load() == 0 {
		if err := c.flushLocked(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush writes what was gathered. After an error the connection writes nothing any more.
func (c *tunnelConn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushLocked()
}

func (c *tunnelConn) flushLocked() error {
	if c.err == nil && len(c.buf) > 0 {
		_, c.err = c.Conn.Write(c.buf)
	}
	if c.buf != nil {
		if buf := c.buf; cap(buf) <= 2*flushAt {
			framePool.Put(&buf)
		}
		c.buf = nil
	}
	return c.err
}

// Full reports whether enough was gathered that it should be flushed although more is coming.
func (c *tunnelConn) Full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.buf) >= flushAt
}

// Close writes what was gathered and closes the sending half; the receiving half stays open for as long as linger,
// since closing it with unread bytes in it would reset the connection and lose the last frames. The reader ends then,
// and whoever owns it calls Kill.
func (c *tunnelConn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	now := time.Now()
	// A flush that is stuck holds mu: the deadline is what ends it.
	c.Conn.SetWriteDeadline(now.Add(linger))
	err := c.Flush()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		return c.Conn.Close()
	}
	return c.Conn.SetReadDeadline(now.Add(linger))
}

// SetReadDeadline keeps the linger's deadline once the connection is closed: a late pong must not prolong it.
func (c *tunnelConn) SetReadDeadline(t time.Time) error {
	if c.closed.Load() {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// Kill closes the connection at once, whatever is under way on it.
func (c *tunnelConn) Kill() {
	c.closed.Store(true)
	c.Conn.Close()
}
