package embedded

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID returns the user that has connected.
func peerUID(c net.Conn) (uid int, err error) {
	err = control(c, func(fd int) error {
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			uid = int(peer.Uid)
		}
		return err
	})
	return uid, err
}
