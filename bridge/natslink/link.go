// Package natslink keeps all connections of a process on one server of a NATS cluster. They move to another server
// together: at once if the server is lost, and before it closes them if it announces its end.
package natslink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// A server that hangs still acknowledges bytes, so only pings find it: between pingsMissed and pingsMissed+1 intervals
// after it stopped. A network that is cut is found sooner, since the system gives up on bytes that stay unacknowledged.
const (
	pingInterval = 3 * time.Second
	pingsMissed  = 2
)

// dialAttempts is how often a connection is tried that its server closes during the login.
const dialAttempts = 4

// settleTimeout bounds the wait for connections that move.
const settleTimeout = 2 * time.Second

// Link is the set of connections that share a server.
type Link struct {
	log   *slog.Logger
	moves prometheus.Counter
	ping  time.Duration

	mu      sync.Mutex // guards the fields below, and those of the members
	members map[*member]struct{}
	server  string // host and port of the server of all members; "" before the first connection
	told    string // the server that was last logged
	name    string // of that server
	// failed has the time when a server was last lost or announced its end, by host and port. Hosts that are names have
	// an entry for their address too.
	failed  map[string]time.Time
	address map[string]string // host and port to the address that was dialled for it
	before  []func(context.Context) (resume func())
	moving  bool
	settled chan struct{} // closed once all members are on server; nil unless a move waits for that
}

// New returns a link without connections. It logs each move to log.
func New(log *slog.Logger) *Link {
	return &Link{log: log, ping: pingInterval, members: make(map[*member]struct{}), failed: make(map[string]time.Time), address: make(map[string]string),
		moves: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_nats_moves_total", Help: "Moves of this node's connections to another NATS server."})}
}

// Observe adds the metrics of the link to a registry.
func (l *Link) Observe(registry prometheus.Registerer) { registry.MustRegister(l.moves) }

// Server returns the name of the NATS server that the connections use, or its host and port if it has no name. It returns
// "" before the first connection.
func (l *Link) Server() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.name
}

// host returns host and port of the server.
func (l *Link) host() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.server
}

// nameOf returns the name of the server of a connection, or "" if it has none.
func nameOf(nc *nats.Conn) string {
	if name := nc.ConnectedServerName(); name != nc.ConnectedServerId() {
		return name
	}
	return ""
}

// BeforeMove has prepare called before a move that the server has announced. prepare finishes what is under way, until
// its context ends, and returns a function that is called once the connections are on the new server.
func (l *Link) BeforeMove(prepare func(context.Context) (resume func())) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = append(l.before, prepare)
}

// Connect calls dial with an option that dial must apply after all others, and makes the connection part of the link
// until it is closed. A connection that does not reconnect is not part of the link. Connect calls dial again if the server
// closes the connection without an answer to its login: a node that starts at the same moment closes all connections that
// wait for an answer, since it cannot know which of them NATS asks it about.
func (l *Link) Connect(dial func(last nats.Option) (*nats.Conn, error)) (*nats.Conn, error) {
	m := &member{link: l}
	nc, err := dial(m.option)
	for n := 1; n < dialAttempts && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)); n++ {
		m = &member{link: l}
		nc, err = dial(m.option)
	}
	if err != nil || !nc.Opts.AllowReconnect {
		return nc, err
	}
	if l.add(m, nc) {
		return nc, nil
	}
	if err := nc.ForceReconnect(); err != nil {
		return nil, err
	}
	if err := nc.FlushTimeout(settleTimeout); err != nil {
		nc.Close()
		return nil, fmt.Errorf("join the other connections on NATS server %s: %w", l.host(), err)
	}
	return nc, nil
}

// add adds a connection. It returns false if the connection has to move to the server of the others.
func (l *Link) add(m *member, nc *nats.Conn) bool {
	name := nameOf(nc)
	host, pool, connected := hostOf(nc.ConnectedUrl()), nc.ServerPool(), nc.IsConnected()
	l.mu.Lock()
	defer l.mu.Unlock()
	m.nc = nc
	if m.closed {
		return true
	}
	l.members[m] = struct{}{}
	if m.host == "" { // it has not reconnected meanwhile
		m.host, m.connected = host, connected
		l.address[host] = m.conn.RemoteAddr().String()
	}
	if l.server == "" {
		l.server, l.told, l.name = m.host, m.host, cmp.Or(name, m.host)
	}
	return m.host == l.server || find(pool, l.server) == nil
}

// hostOf returns host and port of the URL of a connected server.
func hostOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return u.Host
}

// find returns the server with this host and port, or nil.
func find(servers []nats.Server, host string) *nats.Server {
	for i := range servers {
		if s := &servers[i]; s.URL != nil && s.URL.Host == host {
			return s
		}
	}
	return nil
}

// fail notes that a server is lost or will end. Called with mu held.
func (l *Link) fail(host string) {
	now := time.Now()
	l.failed[host] = now
	if address := l.address[host]; address != "" {
		l.failed[address] = now
	}
}

// failedAt returns when a server has failed under one of its names. Called with mu held.
func (l *Link) failedAt(host string) time.Time {
	at, other := l.failed[host], l.failed[l.address[host]]
	if other.After(at) {
		return other
	}
	return at
}

// ranked returns the hosts of the servers: first the servers that never failed, then the others by the time of their last
// failure, the earliest first. Called with mu held.
func (l *Link) ranked(servers []nats.Server) []string {
	var hosts []string
	for _, s := range servers {
		if s.URL != nil {
			hosts = append(hosts, s.URL.Host)
		}
	}
	slices.SortStableFunc(hosts, func(a, b string) int { return l.failedAt(a).Compare(l.failedAt(b)) })
	return hosts
}

// leave chooses another server since the current one is lost, and cuts the members that are still connected to it.
// Called with mu held.
func (l *Link) leave(servers []nats.Server) {
	l.fail(l.server)
	hosts := l.ranked(servers)
	if len(hosts) == 0 || hosts[0] == l.server {
		return
	}
	l.server = hosts[0]
	for m := range l.members {
		if m.connected && m.host != l.server {
			m.conn.cut()
		}
	}
}

// used reports whether a member is connected to the current server. Called with mu held.
func (l *Link) used() bool {
	for m := range l.members {
		if m.connected && m.host == l.server {
			return true
		}
	}
	return false
}

// settle ends the wait of a move if all members are on the server. Called with mu held.
func (l *Link) settle() {
	if l.settled == nil {
		return
	}
	for m := range l.members {
		if !m.connected || m.host != l.server && !m.apart {
			return
		}
	}
	close(l.settled)
	l.settled = nil
}
