package natslink

import (
	"cmp"
	"math/rand/v2"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/sockopt"
)

// The delay between two rounds through all servers grows from minDelay to maxDelay. Half of it is random.
const (
	minDelay = 500 * time.Millisecond
	maxDelay = 4 * time.Second
)

// member is a connection of a link. The link's mu guards its fields from host on. No method of nc is called with it held,
// since the library calls next with a lock of nc held.
type member struct {
	link *Link
	nc   *nats.Conn
	dial nats.CustomDialer
	// greets reports whether servers speak first on a new connection.
	greets bool

	host      string // of the server to which it is connected, or last tried to connect
	connected bool
	closed    bool
	apart     bool  // it is on another server than the others: theirs does not take it
	tries     int   // since the connection was lost
	round     int   // counts all tries
	waiting   bool  // before its next try
	conn      *conn // the last one
	// unreachable: in the last try no server answered.
	unreachable bool
}

// option makes a connection part of the link. It must be the last option.
func (m *member) option(o *nats.Options) error {
	m.startWithServer(o)
	if !o.AllowReconnect {
		return nil
	}
	o.PingInterval, o.MaxPingsOut = m.link.ping, pingsMissed
	m.greets = !o.TLSHandshakeFirst && !slices.ContainsFunc(o.Servers, isWebSocket)
	m.dial = o.CustomDialer
	if m.dial == nil {
		d := net.Dialer{Timeout: o.Timeout}
		if o.Dialer != nil {
			d = *o.Dialer
		}
		if d.Control == nil {
			d.Control = limitUnacknowledged
		}
		m.dial = &d
	}
	o.CustomDialer = dialer{m}
	o.ReconnectToServerCB = m.next
	back, closed, lameDuck := o.ReconnectedCB, o.ClosedCB, o.LameDuckModeHandler
	o.ReconnectedCB = func(nc *nats.Conn) {
		m.established(nc)
		if back != nil {
			back(nc)
		}
	}
	o.ClosedCB = func(nc *nats.Conn) {
		m.gone()
		if closed != nil {
			closed(nc)
		}
	}
	o.LameDuckModeHandler = func(nc *nats.Conn) {
		m.lameDuck(nc)
		if lameDuck != nil {
			lameDuck(nc)
		}
	}
	return nil
}

// startWithServer puts the server of the other connections first, if it is configured. Servers that the cluster
// announced are not known yet.
func (m *member) startWithServer(o *nats.Options) {
	server := m.link.host()
	i := slices.IndexFunc(o.Servers, func(s string) bool { return configuredHost(s) == server })
	if server == "" || i < 0 {
		return
	}
	o.Servers = slices.Concat(o.Servers[i:i+1], o.Servers[:i], o.Servers[i+1:])
	o.NoRandomize = true
}

func limitUnacknowledged(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = sockopt.LimitUnacknowledged(fd, pingsMissed*pingInterval) }); err != nil {
		return err
	}
	return failed
}

// next chooses the server for the next try to connect. The library calls it with the lock of the connection held.
func (m *member) next(servers []nats.Server, _ nats.ServerInfo) (*nats.Server, time.Duration) {
	l := m.link
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := m.connected
	m.connected, m.apart = false, false
	if lost {
		m.tries = 0
	}
	// The server may have closed this connection alone, so the first try is the same server. If it is alive and only
	// refuses this connection, the others stay.
	if m.host == l.server && !(lost && m.conn.endedByPeer()) && (lost || m.unreachable || !l.used()) {
		l.leave(servers)
	}
	want := l.server
	if m.tries > len(servers) && l.used() {
		want = l.ranked(servers)[m.tries%len(servers)]
	}
	s := find(servers, want)
	if s == nil {
		s = find(servers, l.ranked(servers)[0])
	}
	m.host, m.apart = s.URL.Host, s.URL.Host != l.server
	m.tries++
	m.round++
	wait := delay(m.tries - len(servers) - 1)
	m.waiting = wait > 0
	return s, wait
}

// delay returns the delay before a try. Up to 0 there is none, so that one round through all servers takes no time.
func delay(n int) time.Duration {
	if n < 0 {
		return 0
	}
	d := min(minDelay<<min(n, 10), maxDelay)
	return d/2 + rand.N(d/2)
}

// established notes that the connection is back.
func (m *member) established(nc *nats.Conn) {
	l := m.link
	l.mu.Lock()
	round := m.round
	l.mu.Unlock()
	name, connected := nameOf(nc), nc.IsConnected() // not with mu held: next has the locks in the other order
	l.mu.Lock()
	defer l.mu.Unlock()
	if !connected || round != m.round {
		return // it is lost again
	}
	m.connected = true
	m.tries, m.waiting = 0, false
	switch {
	case m.apart:
		l.log.Warn("a connection is on another NATS server than the others", "connection", nc.Opts.Name, "server", name, "url", m.host)
	case m.host != l.server: // the others have moved on meanwhile
		m.conn.cut()
	case l.told != l.server:
		l.told, l.name = l.server, cmp.Or(name, l.server)
		l.moves.Inc()
		l.log.Info("moved to another NATS server", "server", name, "url", l.server)
	}
	for other := range l.members {
		if other.waiting && m.host == l.server {
			go other.hurry()
		}
	}
	l.settle()
}

// gone removes the connection from the link.
func (m *member) gone() {
	m.link.mu.Lock()
	defer m.link.mu.Unlock()
	m.connected, m.closed = false, true
	delete(m.link.members, m)
	m.link.settle()
}

// hurry ends the delay before the next try, since a server answers.
func (m *member) hurry() {
	if m.nc.IsReconnecting() {
		_ = m.nc.ForceReconnect() // the only error is that the connection is closed
	}
}
