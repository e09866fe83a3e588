//go:build unix

package bridge

import "syscall"

// tryWrite returns a write that takes what fits into the socket's buffer and never waits: Go's sockets are non-blocking.
// It must not be called by two at once.
func tryWrite(raw syscall.RawConn) func([]byte) (int, error) {
	var t struct {
		p   []byte
		n   int
		err error
	}
	// One closure for the life of the connection: one for each write would be garbage.
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
