package sockopt

import (
	"time"

	"golang.org/x/sys/unix"
)

// LimitUnacknowledged makes the system end the connection if the peer does not acknowledge sent bytes within limit.
// This includes a peer that does not read, so that its window stays full.
func LimitUnacknowledged(fd uintptr, limit time.Duration) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, max(int(limit.Milliseconds()), 1))
}
