//go:build !linux && !darwin && !freebsd && !windows

package embedded

import (
	"errors"
	"net"
)

// peerUID fails, so that the socket refuses all connections: commands use the address in admin.json.
func peerUID(net.Conn) (int, error) {
	return 0, errors.ErrUnsupported
}
