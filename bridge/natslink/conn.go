package natslink

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// dialer dials for a member.
type dialer struct{ member *member }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	m := d.member
	raw, err := m.dial.Dial(network, address)
	l := m.link
	l.mu.Lock()
	defer l.mu.Unlock()
	m.unreachable, m.waiting = err != nil, false
	if err != nil {
		return nil, err
	}
	m.conn = &conn{Conn: raw, member: m}
	if m.host != "" {
		l.address[m.host] = raw.RemoteAddr().String()
	}
	return m.conn, nil
}

// SkipTLSHandshake implements an interface of the library: a dialer of the configuration may do TLS itself.
func (d dialer) SkipTLSHandshake() bool {
	s, ok := d.member.dial.(interface{ SkipTLSHandshake() bool })
	return ok && s.SkipTLSHandshake()
}

// A connection that leaves its server takes what the server has sent, until nothing has come for lingerPause, and for
// at most lingerTimeout.
const (
	lingerPause   = 200 * time.Millisecond
	lingerTimeout = time.Second
)

// errMoved ends a connection whose server the others have left.
var errMoved = errors.New("the other connections have left this NATS server")

// conn is a connection to a NATS server. The library closes a connection at once when it is to reconnect, and what the
// server has sent meanwhile is lost. After leave, Close ends only this side's half: the server sends what it has for
// the connection, and closes it.
type conn struct {
	net.Conn
	member  *member
	leaving atomic.Bool // Close ends one half
	halved  atomic.Bool
	closed  atomic.Bool
	moved   atomic.Bool
	ended   atomic.Bool // the peer has closed it
}

// leave makes Close end only this side's half.
func (c *conn) leave() { c.leaving.Store(true) }

// cut breaks the connection, so that the library reconnects.
func (c *conn) cut() {
	c.moved.Store(true)
	_ = c.Conn.Close() // the reader gets an error
}

// endedByPeer reports whether the peer has closed the connection. It has not if the peer has become silent.
func (c *conn) endedByPeer() bool { return c.ended.Load() }

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		if c.halved.Load() {
			err = c.SetReadDeadline(time.Now().Add(lingerPause))
		}
		return n, err
	}
	var network net.Error
	switch {
	case c.moved.Load():
		return n, errMoved
	case c.halved.Load():
		_ = c.Conn.Close() // the server has closed it
	case c.closed.Load():
	case errors.As(err, &network) && network.Timeout():
		c.member.silent()
	default:
		c.ended.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.leaving.Load() && !c.halved.Swap(true) {
		if err := half.CloseWrite(); err == nil {
			time.AfterFunc(lingerTimeout, func() { _ = c.Conn.Close() }) // ends a reader that has not ended
			return c.SetReadDeadline(time.Now().Add(lingerPause))
		}
	}
	c.closed.Store(true)
	return c.Conn.Close()
}

// silent notes that the server does not answer.
func (m *member) silent() {
	m.link.mu.Lock()
	defer m.link.mu.Unlock()
	m.unreachable = true
}

func isWebSocket(server string) bool {
	return strings.HasPrefix(server, "ws://") || strings.HasPrefix(server, "wss://")
}

// configuredHost returns host and port of a configured server.
func configuredHost(server string) string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(server), "://")
	if !ok {
		scheme, rest = "nats", scheme
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return ""
	}
	if u.Port() != "" {
		return u.Host
	}
	port := map[string]string{"ws": "80", "wss": "443"}[scheme]
	if port == "" {
		port = "4222"
	}
	return strings.TrimSuffix(u.Host, ":") + ":" + port
}
