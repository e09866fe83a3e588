package sockopt

import (
	"time"

	"golang.org/x/sys/windows"
)

// LimitUnacknowledged makes the system end the connection if the peer does not acknowledge sent bytes within limit.
// Windows before version 10 counts whole seconds.
func LimitUnacknowledged(fd uintptr, limit time.Duration) error {
	s := windows.Handle(fd)
	err := windows.SetsockoptInt(s, windows.IPPROTO_TCP, windows.TCP_MAXRTMS, max(int(limit.Milliseconds()), 1))
	if err == nil {
		return nil
	}
	seconds := int((limit + time.Second - 1) / time.Second)
	return windows.SetsockoptInt(s, windows.IPPROTO_TCP, windows.TCP_MAXRT, max(seconds, 1))
}
