package cmd

import (
	"errors"
	"io"
	"net"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A NATS server that refuses a connection says why, and closes it. If the client library writes meanwhile, it reports a
// broken pipe and drops the reason, which it has read already or could still read.

const (
	refusalTimeout = 100 * time.Millisecond // of the wait for the reason
	refusalBytes   = 8 << 10                // more than the greeting and the reason
)

var refusalLine = regexp.MustCompile(`-ERR '([^'\r\n]*)'`)

// explainRefusal makes the error of a dial name the reason of the server. It must be the last option.
func explainRefusal(o *nats.Options) error {
	next := o.CustomDialer
	if next == nil {
		next = &net.Dialer{Timeout: o.Timeout}
	}
	o.CustomDialer = refusalDialer{next}
	return nil
}

type refusalDialer struct{ nats.CustomDialer }

// Dial implements nats.CustomDialer.
func (d refusalDialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.CustomDialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &refusalConn{Conn: c}, nil
}

type refusalConn struct {
	net.Conn

	mu   sync.Mutex // guards said
	said []byte     // the first bytes of the server
}

// Read implements net.Conn.
func (c *refusalConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := refusalBytes - len(c.said); room > 0 {
		c.said = append(c.said, p[:min(n, room)]...)
	}
	return n, err
}

// Write implements net.Conn.
func (c *refusalConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil {
		return n, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	said := c.said
	if c.SetReadDeadline(time.Now().Add(refusalTimeout)) == nil {
		rest, _ := io.ReadAll(io.LimitReader(c.Conn, refusalBytes)) // it ends with the error of the broken connection
		said = append(said, rest...)
	}
	if m := refusalLine.FindSubmatch(said); m != nil {
		return n, errors.New("nats: " + string(m[1]))
	}
	return n, err
}
