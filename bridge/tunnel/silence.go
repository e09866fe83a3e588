package tunnel

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"imctl/bridge/sockopt"
)

// A dead path gives no error: writing to its socket still succeeds. Three mechanisms find it. The system gives up on
// bytes that the peer does not acknowledge (sockopt.LimitUnacknowledged). A read that waits too long ends the session
// (conn.expired); only the wait counts, so a client whose frames a limit holds back counts as alive. A dialogue to
// a peer that has been silent is followed by a ping (conn.watch).

// quietMost bounds the silence of a peer after which a dialogue to it is followed by a ping.
const quietMost = 5 * time.Second

// errSilent ends the reads of a connection whose peer was silent for too long.
var errSilent = errors.New("the peer is silent")

// watch waits for a sign of life after a dialogue was written. While it runs, a further dialogue costs only a
// comparison. A session without dialogues has no timer.
type watch struct {
	limit   time.Duration // from the first dialogue without a sign of life to the end of the session; 0: no watch
	quiet   time.Duration // of silence before a ping
	timer   *time.Timer
	since   time.Duration // when the first dialogue without a later sign of life was written; 0: there is none
	written time.Duration // when the last dialogue was written
	pinged  time.Duration // when the peer was pinged; 0: not yet
}

// watchLimits returns the limit and the quiet time of a watch. limit is shorter than the write timeout, so that a
// session on a dead path accepts no dialogues after it.
func watchLimits(writeTimeout time.Duration) (limit, quiet time.Duration) {
	limit = writeTimeout - min(writeTimeout/4, time.Second)
	return limit, min(quietMost, limit/2)
}

// now returns the time since the connection was made. It is never 0.
func (c *conn) now() time.Duration { return max(time.Since(c.made), 1) }

// heard returns the time of the last sign of life. While no read waits, the peer may have sent some: heard returns now.
func (c *conn) heard(now time.Duration) time.Duration {
	if w := time.Duration(c.waiting.Load()); w != 0 {
		return w
	}
	return now
}

// wait reads from the peer: into c.unread, or into p if there is no raw socket (TLS).
func (c *conn) wait(p []byte) (n int, err error) {
	began := c.now()
	c.waiting.Store(int64(began))
	defer c.waiting.Store(0)
	for {
		if c.read == nil {
			n, err = c.Conn.Read(p)
		} else if c.unread, err = c.read(); err == nil {
			c.taken = 0
		}
		if err == nil || n > 0 {
			return n, err
		}
		if ended, err := c.expired(began, err); ended {
			return 0, err
		}
	}
}

// expired reports whether a read that began at began and failed with err ends the connection. The deadline may have
// been set long before the read began, and have passed too early. The read is then repeated.
func (c *conn) expired(began time.Duration, err error) (bool, error) {
	if c.silence == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return true, err
	}
	left := began + c.silence - c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed: // shut has set the deadline
		return true, err
	case left <= 0:
		return true, errSilent
	}
	if err := c.Conn.SetReadDeadline(time.Now().Add(left)); err != nil {
		return true, err
	}
	return false, nil
}

// dialogueWritten starts to watch for a sign of life. Called with mu held.
func (c *conn) dialogueWritten() {
	w := &c.watch
	if w.limit == 0 || c.closed {
		return
	}
	now := c.now()
	w.written = now
	if w.since == 0 {
		w.since, w.pinged = now, 0
		c.scheduleCheck(now)
	}
}

// scheduleCheck sets the timer for the next call of check. Called with mu held.
func (c *conn) scheduleCheck(now time.Duration) {
	w := &c.watch
	wait := max(c.heard(now)+w.quiet-now, 0)
	if w.pinged != 0 {
		wait = max(min(w.quiet, w.deadline()-now), 0)
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(wait, c.check)
		return
	}
	w.timer.Reset(wait)
}

// deadline returns when a pinged peer has been silent for too long. A peer has w.quiet to answer even if the ping was
// late, because the machine was suspended.
func (w *watch) deadline() time.Duration { return max(w.since+w.limit, w.pinged+w.quiet) }

// check looks for a sign of life since the first dialogue without one. It pings a peer that has been silent for the
// quiet time, and ends the session of a peer that stays silent.
func (c *conn) check() {
	c.mu.Lock()
	w := &c.watch
	if c.closed || w.since == 0 {
		c.mu.Unlock()
		return
	}
	now := c.now()
	heard := c.heard(now)
	var cut, ping bool
	switch {
	case c.waiting.Load() == 0:
		w.since, w.pinged = now, 0 // the server is not reading, so it can't tell
	case heard > w.written:
		w.since = 0
	case heard > w.since:
		w.since, w.pinged = heard, 0 // the first dialogue after the sign of life is not older
	}
	if w.since == 0 {
		c.mu.Unlock()
		return
	}
	switch {
	case w.pinged != 0 && now >= w.deadline():
		w.since, cut = 0, true
	case w.pinged == 0 && now >= heard+w.quiet:
		w.pinged, ping = now, true
	}
	if w.since != 0 {
		c.scheduleCheck(now)
	}
	c.mu.Unlock()
	switch {
	case cut:
		c.owner.cutOff()
	case ping:
		c.owner.ping()
	}
}

// stopWatch stops the watch. Called with mu held.
func (c *conn) stopWatch() {
	c.watch.since = 0
	if c.watch.timer != nil {
		c.watch.timer.Stop()
	}
}

// limitPeer makes the system give up on a peer that does not acknowledge sent bytes. It applies to TCP connections,
// with and without TLS.
func limitPeer(c net.Conn, limit time.Duration) error {
	if tls, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = tls.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok || c.LocalAddr().Network() != "tcp" {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = sockopt.LimitUnacknowledged(fd, limit) })
	return errors.Join(err, failed)
}
