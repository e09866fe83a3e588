package natstest

import (
	"net"
	"sync"
	"testing"
)

// Proxy forwards TCP connections to an address until a test interrupts them.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	target string
	mode   proxyMode
	change chan struct{} // closed when mode changes
	conns  map[net.Conn]bool
}

type proxyMode int

const (
	forwarding proxyMode = iota
	frozen               // connections stay, and no byte passes
	cut                  // connections are closed
	ended
)

// StartProxy starts a proxy on a free port. It ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, change: make(chan struct{}), conns: make(map[net.Conn]bool)}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // accept returns
		p.set(ended)
		p.wg.Wait()
	})
	return p
}

// Addr returns the address on which the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget changes where new connections lead.
func (p *Proxy) SetTarget(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = address
}

// Freeze keeps all bytes back, as a network that loses every packet or a peer that hangs. New connections are accepted.
func (p *Proxy) Freeze() { p.set(frozen) }

// Cut closes all connections, and every new one at once.
func (p *Proxy) Cut() { p.set(cut) }

// Forward ends Freeze and Cut. Bytes that a frozen proxy has received pass now.
func (p *Proxy) Forward() { p.set(forwarding) }

func (p *Proxy) set(mode proxyMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = mode
	close(p.change)
	p.change = make(chan struct{})
	if mode >= cut {
		for c := range p.conns {
			_ = c.Close() // the peer sees it
		}
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

// serve forwards one connection.
func (p *Proxy) serve(client net.Conn) {
	if !p.add(client) || !p.pass() {
		_ = client.Close()
		return
	}
	defer p.drop(client)
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	peer, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer p.drop(peer)
	if !p.add(peer) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(peer, client) })
	both.Go(func() { p.copy(client, peer) })
	both.Wait()
}

// copy copies until one of the connections ends, and closes both.
func (p *Proxy) copy(to, from net.Conn) {
	defer p.drop(to)
	defer p.drop(from)
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && p.pass() {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the proxy is frozen. It reports whether bytes may pass now.
func (p *Proxy) pass() bool {
	for {
		p.mu.Lock()
		mode, change := p.mode, p.change
		p.mu.Unlock()
		if mode != frozen {
			return mode == forwarding
		}
		<-change
	}
}

// add notes a connection, unless the proxy closes it at once.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode >= cut {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close() // it may be closed already
}
