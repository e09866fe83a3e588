package bridge

import (
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged has the system end a connection whose peer does not acknowledge what was sent for that long, in
// whole seconds.
func limitUnacknowledged(fd uintptr, limit time.Duration) error {
	seconds := int((limit + time.Second - 1) / time.Second)
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, max(seconds, 1))
}
