package bridge

import (
	"errors"
	"net"
	"os"
	"time"
)

// A path that dies sends no word of it: what is written to its socket looks like what arrives. Three things find it. The
// system gives up on bytes that the peer does not acknowledge (limitUnacknowledged). A read that waits too long ends the
// session (tunnelConn.expired); only the wait counts, so a client whose frames are held back by a limit is alive. And a
// dialogue for a peer that has been silent is followed by a ping (tunnelConn.watch).

// quietMost is how long a peer may be silent, at most, before a dialogue that is written to it is followed by a ping.
const quietMost = 5 * time.Second

// errSilent ends the reads of a connection whose peer was not heard for too long.
var errSilent = errors.New("the peer is silent")

// watch asks for a sign of life after a dialogue was written. It costs a dialogue no more than a comparison while it
// runs, and a session no timer before its first dialogue.
type watch struct {
	limit time.Duration // from the first dialogue without a sign of life to the end of the session; 0: no watch
	quiet time.Duration // of silence before a ping
	ping  func()
	cut   func() // ends the session

	timer   *time.Timer
	since   time.Duration // the first dialogue of those that no sign of life has followed; 0: none
	written time.Duration // the last dialogue
	pinged  time.Duration // when the peer was pinged for it; 0: not yet
}

// watchLimits returns how long a peer may leave a dialogue without a sign of life, so that a session on a dead path takes
// no dialogues once the write timeout is over, and how long a silence is left alone.
func watchLimits(writeTimeout time.Duration) (limit, quiet time.Duration) {
	limit = writeTimeout - min(writeTimeout/4, time.Second)
	return limit, min(quietMost, limit/2)
}

// now is the time since the connection was made. It is never 0.
func (c *tunnelConn) now() time.Duration { return max(time.Since(c.made), 1) }

// heard is until when the peer is known to be alive, or may be: while no read waits for it, that is now.
func (c *tunnelConn) heard(now time.Duration) time.Duration {
	if w := time.Duration(c.waiting.Load()); w != 0 {
		return w
	}
	return now
}

// wait waits for the peer. It reads into c.unread, or into p where there is no socket of ours below.
func (c *tunnelConn) wait(p []byte) (n int, err error) {
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
		if over, err := c.expired(began, err); over {
			return 0, err
		}
	}
}

// expired tells whether a read that began then, and failed with err, ends the connection. A read whose deadline passed
// too early, since the deadline was set before the server turned to this read, is to be repeated.
func (c *tunnelConn) expired(began time.Duration, err error) (bool, error) {
	if c.silence == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return true, err
	}
	left := began + c.silence - c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed: // the deadline is Close's
		return true, err
	case left <= 0:
		return true, errSilent
	}
	if err := c.Conn.SetReadDeadline(time.Now().Add(left)); err != nil {
		return true, err
	}
	return false, nil
}

// dialogueWritten begins to watch for a sign of life. Called with mu held.
func (c *tunnelConn) dialogueWritten() {
	w := &c.watch
	if w.limit == 0 || c.closed {
		return
	}
	now := c.now()
	w.written = now
	if w.since == 0 {
		w.since, w.pinged = now, 0
		c.lookAgain(now)
	}
}

// lookAgain sets the timer for the next look. Called with mu held.
func (c *tunnelConn) lookAgain(now time.Duration) {
	w := &c.watch
	wait := max(c.heard(now)+w.quiet-now, 0)
	if w.pinged != 0 {
		wait = max(min(w.quiet, w.over()-now), 0)
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(wait, c.look)
		return
	}
	w.timer.Reset(wait)
}

// over is when a peer that was pinged has been silent for too long. A ping that left late, from a machine that stood
// still, has its time to be answered all the same.
func (w *watch) over() time.Duration { return max(w.since+w.limit, w.pinged+w.quiet) }

// look looks for a sign of life since the first dialogue that none has followed: it pings a peer that was silent before,
// and ends a session whose peer stays silent.
func (c *tunnelConn) look() {
	c.mu.Lock()
	w := &c.watch
	if c.closed || w.since == 0 {
		c.mu.Unlock()
		return
	}
	now := c.now()
	heard := c.heard(now)
	var do func()
	switch {
	case c.waiting.Load() == 0:
		w.since, w.pinged = now, 0 // the server does not read: it cannot tell
	case heard > w.written:
		w.since = 0
	case heard > w.since:
		w.since, w.pinged = heard, 0 // the first dialogue that was written after it is no older
	}
	if w.since == 0 {
		c.mu.Unlock()
		return
	}
	switch {
	case w.pinged != 0 && now >= w.over():
		w.since, do = 0, w.cut
	case w.pinged == 0 && now >= heard+w.quiet:
		w.pinged, do = now, w.ping
	}
	if w.since != 0 {
		c.lookAgain(now)
	}
	c.mu.Unlock()
	if do != nil {
		do()
	}
}

// stopWatch ends the watch. Called with mu held.
func (c *tunnelConn) stopWatch() {
	c.watch.since = 0
	if c.watch.timer != nil {
		c.watch.timer.Stop()
	}
}

// limitPeer has the system give up on a peer that does not acknowledge what is sent to it, where the connection is TCP's,
// under TLS or not.
func limitPeer(c net.Conn, limit time.Duration) error {
	if over, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = over.NetConn()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = limitUnacknowledged(fd, limit) })
	return errors.Join(err, failed)
}
