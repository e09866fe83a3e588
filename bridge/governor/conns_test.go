package governor

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// front is an HTTP server behind a governor. A request for /hold promotes its connection, and takes it over.
type front struct {
	g    *Governor
	addr string
	log  *logBuffer
	idle chan struct{} // receives when the governor knows that a connection has no request
}

func newFront(t *testing.T, opts Options, proxies ...netip.Prefix) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveFront(t, opts, l, proxies...)
}

func serveFront(t *testing.T, opts Options, l net.Listener, proxies ...netip.Prefix) *front {
	t.Helper()
	g, log := newGovernor(t, opts)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if g.Identify(r.Context(), ClientKey(r, proxies)) != nil {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	mux.HandleFunc("/member", func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		g.Promote(c)
		_, _ = c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	})
	f := &front{g, l.Addr().String(), log, make(chan struct{}, 100)}
	s := &http.Server{Handler: mux, ConnContext: g.ConnContext, ConnState: func(c net.Conn, state http.ConnState) {
		g.ConnState(c, state)
		if state == http.StateIdle {
			f.idle <- struct{}{}
		}
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(g.Listen(l, func(a net.Addr) bool { return Trusted(a.String(), proxies) }))
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return f
}

// dial connects from a loopback address.
func (f *front) dial(t *testing.T, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", f.addr)
	if err != nil {
		t.Skipf("cannot connect from %s: %v", from, err) // macOS has one loopback address
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// get sends a request on a connection, and returns the status, 0 if the server has closed the connection.
func get(t *testing.T, c net.Conn, path string, headers ...string) int {
	t.Helper()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n"+strings.Join(headers, "")+"\r\n"); err != nil {
		return 0
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// closed waits until the server has closed a connection. It fails the test if the server sends a byte.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the connection is open: %d bytes, %v", n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatal("the connection is open")
	}
}

// TestConnectionsAreBounded: at the limit, a client with few connections displaces the oldest idle one of the client
// with the most. Members are never displaced.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFront(t, Options{Connections: 20})
	member := f.dial(t, "127.0.0.2")
	if status := get(t, member, "/member"); status != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", status)
	}
	var idle []net.Conn
	for range 19 {
		c := f.dial(t, "127.0.0.2")
		if status := get(t, c, "/"); status != 200 {
			t.Fatalf("status %d below the limit", status)
		}
		<-f.idle // in this order they are displaced
		idle = append(idle, c)
	}
	for i := range 5 {
		if status := get(t, f.dial(t, "127.0.0.3"), "/"); status != 200 {
			t.Fatalf("connection %d of another client: status %d", i, status)
		}
		closed(t, idle[i])
	}
	if n := f.g.conns.count(); n != 20 {
		t.Errorf("%d connections are counted, want 20", n)
	}
	member.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := member.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("the member's connection: %v", err)
	}
	if lines := f.log.lines("displaced"); len(lines) != 1 || !strings.Contains(lines[0], "source=127.0.0.2") {
		t.Errorf("logged %q, want one line", lines)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// TestConnectionsOfOneAddress: one address has its own limit, and displaces its own oldest connections.
func TestConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	f := newFront(t, Options{Connections: 100, AddressConnections: 3})
	var all []net.Conn
	for range 5 {
		c := f.dial(t, "127.0.0.2")
		if status := get(t, c, "/"); status != 200 {
			t.Fatalf("status %d", status)
		}
		<-f.idle
		all = append(all, c)
	}
	closed(t, all[0])
	closed(t, all[1])
	for i, c := range all[2:] {
		if status := get(t, c, "/"); status != 200 {
			t.Errorf("connection %d: status %d", i+2, status)
		}
	}
	for range 3 {
		if status := get(t, f.dial(t, "127.0.0.2"), "/member"); status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", status)
		}
	}
	closed(t, f.dial(t, "127.0.0.2")) // all are members: none can be displaced
	if status := get(t, f.dial(t, "127.0.0.3"), "/"); status != 200 {
		t.Errorf("another client: status %d", status)
	}
}

// TestConnectionsOfAProxy: the connections of a trusted proxy count for its clients, and are not displaced.
func TestConnectionsOfAProxy(t *testing.T) {
	t.Parallel()
	f := newFront(t, Options{Connections: 100, AddressConnections: 2}, netip.MustParsePrefix("127.0.0.9/32"))
	var all []net.Conn
	for i := range 5 {
		c := f.dial(t, "127.0.0.9")
		want := 200
		if i >= 2 {
			want = http.StatusTooManyRequests
		}
		if status := get(t, c, "/", "X-Forwarded-For: 192.0.2.1\r\n"); status != want {
			t.Errorf("connection %d of a client: status %d, want %d", i, status, want)
		}
		all = append(all, c)
	}
	if status := get(t, all[4], "/", "X-Forwarded-For: 192.0.2.2\r\n"); status != 200 {
		t.Errorf("another client of the proxy: status %d", status)
	}
}

// TestBodies: one address gets a part of the memory for bodies, and gives it back.
func TestBodies(t *testing.T) {
	t.Parallel()
	g, _ := newGovernor(t, Options{Bodies: 1000})
	first := g.NewBody("a")
	if err := first.Grow(200); err != nil {
		t.Fatal(err)
	}
	second := g.NewBody("a")
	if err := second.Grow(100); !errors.Is(err, ErrLimited) {
		t.Errorf("more than a quarter for one address: %v", err)
	}
	for _, address := range []string{"b", "c", "d"} {
		if err := g.NewBody(address).Grow(250); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := g.NewBody("e").Grow(100); !errors.Is(err, ErrLimited) {
		t.Errorf("more than all: %v", err)
	}
	first.Free()
	if err := second.Grow(250); err != nil {
		t.Errorf("after Free: %v", err)
	}
	second.Free()
	if n := len(g.bodies.byAddress); n != 3 {
		t.Errorf("%d addresses are remembered, want 3", n)
	}
}

// TestWaitingBytes: when all sessions have too many waiting bytes, only those with little get more.
func TestWaitingBytes(t *testing.T) {
	t.Parallel()
	g, _ := newGovernor(t, Options{Waiting: 1 << 20})
	if !g.Wait(1<<20, 0) {
		t.Error("refused within the limit")
	}
	if g.Wait(1000, sessionShare) {
		t.Error("a slow session got more than the limit")
	}
	if !g.Wait(1000, 0) {
		t.Error("a session that reads was refused")
	}
	g.Sent(1000)
	g.Sent(1 << 20)
	if n := g.waiting.Load(); n != 0 {
		t.Errorf("%d bytes are counted, want 0", n)
	}
}

// TestConnectionsOfAUnixSocket: the connections of a Unix socket are those of a proxy, and count for its clients.
func TestConnectionsOfAUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "imctl") // short enough for a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	f := serveFront(t, Options{Connections: 100, Guests: 1, AddressConnections: 2}, l)
	dial := func() net.Conn {
		c, err := net.Dial("unix", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for i, want := range []int{200, 200, 429} {
		if got := get(t, dial(), "/", "X-Forwarded-For: 192.0.2.1\r\n"); got != want {
			t.Errorf("connection %d of a client: %d, want %d", i, got, want)
		}
	}
	if got := get(t, dial(), "/", "X-Forwarded-For: 192.0.2.2\r\n"); got != 200 {
		t.Errorf("a connection of another client: %d", got)
	}
	if n := f.g.conns.count(); n != 4 {
		t.Errorf("%d connections are counted, want 4", n)
	}
}
