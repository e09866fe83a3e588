//go:build unix

package tunnel

import (
	"io"
	"syscall"
)

// tryWrite returns a function that writes what fits into the socket's buffer and never waits: Go's sockets are
// non-blocking. The function must not be called concurrently.
func tryWrite(raw syscall.RawConn) func([]byte) (int, error) {
	var t struct {
		p   []byte
		n   int
		err error
	}
	// One closure for the life of the connection, so that writes do not allocate.
	write := func(fd uintptr) bool {
		t.n, t.err = syscall.Write(int(fd), t.p)
		return true
	}
	return func(p []byte) (int, error) {
		t.p = p
		err := raw.Write(write)
		n, werr := t.n, t.err
		t.p = nil
		switch {
		case err != nil:
			return 0, err
		case werr == syscall.EAGAIN || werr == syscall.EINTR:
			return 0, nil
		case werr != nil:
			return max(n, 0), werr
		}
		return n, nil
	}
}

// tryRead returns a function that waits for the socket without a buffer, and takes a buffer when there are bytes to
// read. The function must not be called concurrently.
func tryRead(raw syscall.RawConn) func() (*buffer, error) {
	var t struct {
		b   *buffer
		n   int
		err error
	}
	read := func(fd uintptr) bool {
		t.b = readBuffers.Get().(*buffer)
		for {
			t.n, t.err = syscall.Read(int(fd), t.b.b[:cap(t.b.b)])
			if t.err != syscall.EINTR {
				break
			}
		}
		if t.err == syscall.EAGAIN {
			readBuffers.Put(t.b)
			t.b = nil
			return false
		}
		return true
	}
	return func() (*buffer, error) {
		err := raw.Read(read)
		b := t.b
		t.b = nil
		switch {
		case err != nil:
		case t.err != nil:
			err = t.err
		case t.n <= 0:
			err = io.EOF
		default:
			b.b = b.b[:t.n]
			return b, nil
		}
		if b != nil {
			readBuffers.Put(b)
		}
		return nil, err
	}
}
