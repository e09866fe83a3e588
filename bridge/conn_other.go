//go:build !unix

package bridge

import "syscall"

// tryWrite and tryRead are for systems whose sockets can't be tried: there a goroutine writes, and a read is an ordinary one.
func tryWrite(syscall.RawConn) func([]byte) (int, error) { return nil }

func tryRead(syscall.RawConn) func() (*buffer, error) { return nil }
