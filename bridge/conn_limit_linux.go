package bridge

import (
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged has the system end a connection whose peer does not acknowledge what was sent for that long. A peer
// that takes nothing, since it does not read, counts as well.
func limitUnacknowledged(fd uintptr, limit time.Duration) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, max(int(limit.Milliseconds()), 1))
}
