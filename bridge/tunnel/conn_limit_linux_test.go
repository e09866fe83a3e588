package tunnel

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLimitPeer: the limit reaches the socket, under TLS too.
func TestLimitPeer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, over := range map[string]func(net.Conn) net.Conn{
		"plain": func(c net.Conn) net.Conn { return c },
		"TLS":   func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12}) },
	} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := limitPeer(over(c), 7*time.Second); err != nil {
			t.Fatal(err)
		}
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			if ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || ms != 7000 {
				t.Errorf("%s: TCP_USER_TIMEOUT is %d ms, %v", name, ms, err)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if err := limitPeer(one, time.Second); err != nil {
		t.Errorf("a connection that is not TCP's: %v", err)
	}
}
