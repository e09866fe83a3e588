package governor

import (
	"cmp"
	"container/list"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// conns are the connections of clients. A connection is a guest until a user has logged in on it, and a member then.
type conns struct {
	mu      sync.Mutex // guards the fields below, and those of each Conn that say so
	all     int
	guests  int
	clients map[string]*client // by their key
}

// client is what one address has.
type client struct {
	address string
	conns   int
	idle    list.List // guests without a request, the oldest first
	active  list.List // guests with a request
}

func (c *conns) init() { c.clients = make(map[string]*client) }

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// stream is a connection by TCP or a Unix socket, with the methods that net/http and the tunnel look for.
type stream interface {
	net.Conn
	syscall.Conn
	io.ReaderFrom
	CloseWrite() error
}

// Conn is a connection that the governor counts until it is closed.
type Conn struct {
	stream
	g       *Governor
	proxied bool // it comes from a trusted proxy, and counts for the proxy's client once that is known

	// The governor's mutex guards these.
	client *client
	in     *list.List // idle or active of the client; nil: a member, a closed connection, or that of a proxy
	place  *list.Element
	closed bool
}

// listener counts the connections that it accepts.
type listener struct {
	net.Listener
	g       *Governor
	proxies func(net.Addr) bool
}

// Listen returns a listener that accepts connections within the limits, and closes all others at once. proxy reports
// whether an address is a trusted proxy, whose connections count for its clients; see Identify.
func (g *Governor) Listen(l net.Listener, proxy func(net.Addr) bool) net.Listener {
	return &listener{l, g, proxy}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		socket, ok := streamOf(c)
		if !ok {
			return c, nil
		}
		counted := &Conn{stream: socket, g: l.g, proxied: l.proxies(c.RemoteAddr())}
		if l.g.admit(counted) {
			return counted, nil
		}
		// Without a reset the refused connections would fill the system's table of closing connections.
		if tcp, ok := socket.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = socket.Close()
	}
}

// streamOf returns a connection as a stream, if it is one.
func streamOf(c net.Conn) (stream, bool) {
	switch c := c.(type) {
	case *net.TCPConn:
		return c, true
	case *net.UnixConn:
		return unixStream{c}, true
	}
	return nil, false
}

// unixStream is a Unix socket, whose connections have no method ReadFrom of an io.ReaderFrom: that of UnixConn
// receives datagrams.
type unixStream struct{ *net.UnixConn }

// ReadFrom implements io.ReaderFrom.
func (u unixStream) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{u.UnixConn}, r)
}

// admit counts a connection, and returns false if it must be closed. At a limit it displaces a guest: of the same
// client if the limit is the client's, and otherwise of the client with the most guests. So a client that opens
// connections without end displaces its own, and a new connection is worth more than an old one without a login.
func (g *Governor) admit(c *Conn) bool {
	address := connectionKey(c.RemoteAddr())
	o := g.opts.Load()
	f := &g.conns
	f.mu.Lock()
	var displaced []*Conn
	var reached Reason
	own := f.clientOf(address)
	if !c.proxied && o.AddressConnections > 0 && own.conns >= o.AddressConnections {
		reached = AddressConnections
		displaced = f.displace(own, displaced)
	}
	if o.Connections > 0 && f.all >= o.Connections || o.Guests > 0 && f.guests >= o.Guests {
		reached = Connections
		displaced = f.displace(f.heaviest(own), displaced)
	}
	if reached != "" && len(displaced) == 0 {
		f.forget(own)
		f.mu.Unlock()
		g.journal.add(reached, address)
		return false
	}
	f.add(c, f.clientOf(address))
	f.mu.Unlock()
	for _, d := range displaced {
		g.journal.add(DisplacedConnections, d.client.address)
		_ = d.stream.Close()
	}
	return true
}

// connectionKey returns the key of a connection's client: its IPv4 address, or the /48 network of its IPv6 address.
func connectionKey(a net.Addr) string {
	addr, ok := parseAddr(a.String())
	if !ok {
		return unknownClient
	}
	key := addrKey(addr)
	return cmp.Or(network(key), key)
}

// displace removes the oldest guest of a client, if it has one. Called with mu held.
func (c *conns) displace(from *client, displaced []*Conn) []*Conn {
	if from == nil {
		return displaced
	}
	oldest := from.oldest()
	if oldest == nil {
		return displaced
	}
	c.remove(oldest)
	return append(displaced, oldest)
}

// clientOf returns the client with an address. Called with mu held.
func (c *conns) clientOf(address string) *client {
	own := c.clients[address]
	if own == nil {
		own = &client{address: address}
		c.clients[address] = own
	}
	return own
}

// forget drops a client without connections. Called with mu held.
func (c *conns) forget(own *client) {
	if own.conns == 0 {
		delete(c.clients, own.address)
	}
}

// add counts a connection as a guest of a client. Called with mu held.
func (c *conns) add(conn *Conn, own *client) {
	c.all++
	own.conns++
	conn.client = own
	if !conn.proxied {
		c.guests++
		conn.enterList(&own.idle)
	}
}

// remove takes a connection back. Called with mu held.
func (c *conns) remove(conn *Conn) {
	if conn.closed {
		return
	}
	conn.closed = true
	c.leaveGuests(conn)
	c.all--
	conn.client.conns--
	c.forget(conn.client)
}

// leaveGuests makes a guest no guest. Called with mu held.
func (c *conns) leaveGuests(conn *Conn) {
	if conn.in != nil {
		conn.in.Remove(conn.place)
		conn.in, conn.place = nil, nil
		c.guests--
	}
}

func (conn *Conn) enterList(l *list.List) {
	conn.in, conn.place = l, l.PushBack(conn)
}

// heaviest returns the client with the most guests, own if it has as many as any, and nil if there is no guest. Called
// with mu held.
func (c *conns) heaviest(own *client) (most *client) {
	if own.guests() > 0 {
		most = own
	}
	for _, own := range c.clients {
		if own.guests() > 0 && (most == nil || own.guests() > most.guests()) {
			most = own
		}
	}
	return most
}

func (own *client) guests() int { return own.idle.Len() + own.active.Len() }

// oldest returns the oldest guest, one without a request if there is one. It returns nil if there is no guest.
func (own *client) oldest() *Conn {
	for _, l := range []*list.List{&own.idle, &own.active} {
		if e := l.Front(); e != nil {
			return e.Value.(*Conn)
		}
	}
	return nil
}

// Close closes the connection and takes it back.
func (conn *Conn) Close() error {
	conn.g.conns.mu.Lock()
	conn.g.conns.remove(conn)
	conn.g.conns.mu.Unlock()
	return conn.stream.Close()
}

// countedConn returns the Conn below a connection, nil if it is not counted.
func countedConn(c net.Conn) *Conn {
	for {
		switch below := c.(type) {
		case *Conn:
			return below
		case interface{ NetConn() net.Conn }: // TLS
			c = below.NetConn()
		default:
			return nil
		}
	}
}

// ConnState is for http.Server.ConnState: a guest with a request is displaced only after those without one.
func (g *Governor) ConnState(c net.Conn, state http.ConnState) {
	conn := countedConn(c)
	if conn == nil || state != http.StateActive && state != http.StateIdle {
		return
	}
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	if conn.closed || conn.in == nil {
		return
	}
	conn.in.Remove(conn.place)
	if state == http.StateActive {
		conn.enterList(&conn.client.active)
	} else {
		conn.enterList(&conn.client.idle)
	}
}

type connKey struct{}

// ConnContext is for http.Server.ConnContext: Identify and Promote find the connection of a request by it.
func (g *Governor) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, countedConn(c))
}

// Identify makes the connection of a trusted proxy count for the client that it serves. Errors: ErrLimited.
func (g *Governor) Identify(ctx context.Context, address string) error {
	conn, _ := ctx.Value(connKey{}).(*Conn)
	if conn == nil || !conn.proxied {
		return nil
	}
	address = cmp.Or(network(address), address)
	most := g.opts.Load().AddressConnections
	g.conns.mu.Lock()
	if conn.closed || conn.client.address == address {
		g.conns.mu.Unlock()
		return nil
	}
	own := g.conns.clientOf(address)
	if most > 0 && own.conns >= most {
		g.conns.mu.Unlock()
		return g.refuse(AddressConnections, address, time.Second)
	}
	before := conn.client
	before.conns--
	g.conns.forget(before)
	own.conns++
	conn.client = own
	g.conns.mu.Unlock()
	return nil
}

// Promote makes the connection of a request a member's: it is no longer displaced.
func (g *Governor) Promote(c net.Conn) {
	conn := countedConn(c)
	if conn == nil {
		return
	}
	g.conns.mu.Lock()
	defer g.conns.mu.Unlock()
	g.conns.leaveGuests(conn)
}
