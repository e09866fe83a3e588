package sockopt

import (
	"time"

	"golang.org/x/sys/unix"
)

// LimitUnacknowledged makes the system end the connection if the peer does not acknowledge sent bytes within limit,
// rounded up to seconds.
func LimitUnacknowledged(fd uintptr, limit time.Duration) error {
	seconds := int((limit + time.Second - 1) / time.Second)
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, max(seconds, 1))
}
