//go:build darwin || freebsd

package embedded

import (
	"net"

	"golang.org/x/sys/unix"
)

// solLocal is SOL_LOCAL, the level of options of Unix sockets.
const solLocal = 0

// peerUID returns the user that has connected.
func peerUID(c net.Conn) (uid int, err error) {
	err = control(c, func(fd int) error {
		peer, err := unix.GetsockoptXucred(fd, solLocal, unix.LOCAL_PEERCRED)
		if err == nil {
			uid = int(peer.Uid)
		}
		return err
	})
	return uid, err
}
