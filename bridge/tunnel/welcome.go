package tunnel

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Budget bounds the bytes that all logins together hold. semaphore.Weighted is one.
type Budget interface {
	// Acquire waits for n bytes. Errors: that of ctx.
	Acquire(ctx context.Context, n int64) error
	// Release returns n bytes.
	Release(n int64)
}

const (
	// maxWhole limits an answer that is built at once. Nearly all answers are smaller.
	maxWhole = 64 << 10
	// partBytes is the size of the parts of a larger answer.
	partBytes = 256 << 10
	// readingBytes is what a login holds while it reads a part: the messages, the records and the part.
	readingBytes = 4 * partBytes
	// defaultLoginBytes is the budget of all logins.
	defaultLoginBytes = 64 << 20
)

// welcome is the answer to a login: whole if it is small, else it is written in parts.
type welcome struct {
	whole  []byte
	answer parts
}

// parts builds an answer in parts, from its beginning after Rewind. im.LoginAnswer is one.
type parts interface {
	Append(ctx context.Context, dst []byte, size int) (part []byte, done bool, err error)
	Rewind()
}

// newWelcome builds the answer. If it is large, newWelcome drops what it has built, since a client that is slow to
// complete the handshake must not hold it.
func newWelcome(ctx context.Context, answer parts) (*welcome, error) {
	whole, done, err := answer.Append(ctx, nil, maxWhole)
	switch {
	case err != nil:
		return nil, err
	case done && len(whole) <= maxWhole:
		return &welcome{whole: whole}, nil
	}
	answer.Rewind()
	return &welcome{answer: answer}, nil
}

// streamAnswer writes the login's answer in parts, as fragments of one text message. Each part is read and built when
// the socket has taken the one before. So a client that does not read holds one part, until sessions.write_timeout
// cuts it off. The other frames of the session wait meanwhile.
func (s *Session) streamAnswer(answer parts) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for first, done := true, false; !done; first = false {
		var err error
		if done, err = s.streamPart(ctx, answer, first); err != nil {
			s.tunnel.opts.Logger.Info("session cut off", "session", s.id, "user", s.user(), "address", s.address, "reason", "the answer to the login was not written", "err", err)
			s.conn.Kill()
			return
		}
	}
}

// partBuffers are buffers for parts.
var partBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 2*partBytes); return &b }}

// streamPart writes the next part of the answer. done reports whether it was the last one.
func (s *Session) streamPart(ctx context.Context, answer parts, first bool) (done bool, err error) {
	reading, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	budget := s.tunnel.opts.LoginBytes
	if err := budget.Acquire(reading, readingBytes); err != nil {
		return false, fmt.Errorf("wait for memory: %w", err)
	}
	held := int64(readingBytes)
	defer func() { budget.Release(held) }()
	buffer := partBuffers.Get().(*[]byte)
	defer partBuffers.Put(buffer)
	part, done, err := s.tunnel.buildPart(reading, answer, (*buffer)[:0])
	if err != nil {
		return false, err
	}
	if cap(part) <= 2*partBytes {
		*buffer = part
	}
	// While it waits for the socket, the login holds only the part.
	if rest := int64(cap(part)); rest < held {
		budget.Release(held - rest)
		held = rest
	}
	return done, s.conn.fragment(part, first, done)
}

// buildPart builds the next part of an answer, when a place for reading it is free.
func (t *Tunnel) buildPart(ctx context.Context, answer parts, dst []byte) (part []byte, done bool, err error) {
	select {
	case t.parts <- struct{}{}:
		defer func() { <-t.parts }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	return answer.Append(ctx, dst, partBytes)
}

// fragment writes a fragment of a text message, and waits for the socket. No other frame may be written before the last
// fragment.
func (c *conn) fragment(p []byte, first, last bool) error {
	const text, final = opText &^ opFinal, opFinal
	op := byte(0) // a continuation
	if first {
		op |= text
	}
	if last {
		op |= final
	}
	c.mu.Lock()
	if c.closed || c.err != nil {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
	c.mu.Unlock()
	var room [10]byte
	frame := net.Buffers{appendHeader(room[:0], op, len(p)), p}
	if _, err := frame.WriteTo(c.Conn); err != nil {
		return err
	}
	if last {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed {
			c.Conn.SetWriteDeadline(time.Time{})
		}
	}
	return nil
}

// opFinal is the bit of a frame that ends its message.
const opFinal = 0x80
