//go:build !unix

package bridge

import "syscall"

// tryWrite is for systems whose sockets can't be tried: there a goroutine writes.
func tryWrite(syscall.RawConn) func([]byte) (int, error) { return nil }
