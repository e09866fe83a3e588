//go:build !unix

package tunnel

import "syscall"

// tryWrite and tryRead return nil on systems without non-blocking access to sockets: there a goroutine writes, and
// reads are ordinary reads.
func tryWrite(syscall.RawConn) func([]byte) (int, error) { return nil }

func tryRead(syscall.RawConn) func() (*buffer, error) { return nil }
