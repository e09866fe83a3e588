package embedded

import (
	"net"
	"sync"
	"sync/atomic"
)

// ownConns counts the connections that this process has opened to its NATS server.
type ownConns struct{ open atomic.Int64 }

// count returns c as a connection that is counted until it is closed.
func (o *ownConns) count(c net.Conn) net.Conn {
	o.open.Add(1)
	return &ownConn{Conn: c, closed: sync.OnceFunc(func() { o.open.Add(-1) })}
}

type ownConn struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *ownConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// Clients returns the number of NATS clients that are connected to the server from outside of this process.
func (s *Server) Clients() int {
	return max(0, s.ns.Load().NumClients()-int(s.ownConns.open.Load()))
}
