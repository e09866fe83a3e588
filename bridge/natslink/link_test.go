package natslink

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
)

const waitTimeout = 20 * time.Second

// startCluster starts n NATS servers of one cluster, whose clients connect without a proxy.
func startCluster(t *testing.T, n int) []*server.Server {
	t.Helper()
	all := make([]*server.Server, n)
	for i := range all {
		o := &server.Options{ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1, PoolSize: -1}, LameDuckGracePeriod: waitTimeout, LameDuckDuration: 2 * waitTimeout}
		if i > 0 {
			o.Routes = server.RoutesFromStr("nats-route://" + all[0].ClusterAddr().String())
		}
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { natstest.Stop(s) })
		if !s.ReadyForConnections(waitTimeout) {
			t.Fatal("a NATS server did not start")
		}
		all[i] = s
	}
	eventually(t, "routes between all servers", func() bool {
		for _, s := range all {
			if s.NumRoutes() != n-1 {
				return false
			}
		}
		return true
	})
	return all
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(waitTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("timeout waiting for %s", what)
		case <-tick.C: // a NATS server gives no signal
		}
	}
}

// linked is a link with connections to some NATS servers.
type linked struct {
	*Link
	url string
	log *natstest.Log
	all []*nats.Conn
}

// connect opens n connections that know the given servers.
func connect(t *testing.T, n int, urls ...string) *linked {
	t.Helper()
	log := new(natstest.Log)
	l := &linked{Link: New(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))), url: strings.Join(urls, ","), log: log}
	for i := range n {
		l.add(t, fmt.Sprint("connection ", i))
	}
	return l
}

func (l *linked) add(t *testing.T, name string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := l.Connect(func(last nats.Option) (*nats.Conn, error) {
		return nats.Connect(l.url, append(append([]nats.Option{nats.Name(name), nats.MaxReconnects(-1)}, opts...), last)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	l.all = append(l.all, nc)
	return nc
}

// on returns the name of the server that all connections are on, or "" if they are not on one.
func (l *linked) on() string {
	name := l.all[0].ConnectedServerName()
	for _, nc := range l.all {
		if !nc.IsConnected() || nc.ConnectedServerName() != name {
			return ""
		}
	}
	return name
}

// moved waits until all connections are on one server other than the named one, and returns its name.
func (l *linked) moved(t *testing.T, from string) (to string) {
	t.Helper()
	eventually(t, "the move", func() bool { to = l.on(); return to != "" && to != from && l.Server() == to })
	return to
}

func urls(servers []*server.Server) (all []string) {
	for _, s := range servers {
		all = append(all, s.ClientURL())
	}
	return all
}

func named(servers []*server.Server, name string) *server.Server {
	for _, s := range servers {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// TestOneServer: all connections use one server, and move to the same other one when it is lost, then to the third. A
// connection that is opened later joins them, even if its server is not configured.
func TestOneServer(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 3)
	l := connect(t, 8, urls(servers[:1])...)
	if l.on() != "n0" || l.Server() != "n0" {
		t.Fatalf("connections on %q, link on %q, want n0", l.on(), l.Server())
	}
	natstest.Stop(servers[0])
	second := l.moved(t, "n0")
	if want := fmt.Sprintf(`level=INFO msg="moved to another NATS server" server=%s`, second); !strings.Contains(l.log.String(), want) {
		t.Errorf("%q is not in the log: %s", want, l.log)
	}
	l.url = strings.Join(urls(servers[1:]), ",")
	l.add(t, "later")
	if l.on() != second {
		t.Errorf("with a later connection: on %q, want %s", l.on(), second)
	}
	for i := range 5 { // servers are tried in any order
		other := servers[1:]
		if servers[1].Name() == second {
			other = servers[2:]
		}
		l.url = other[0].ClientURL()
		l.add(t, fmt.Sprint("configured for another server ", i))
		if l.on() != second {
			t.Errorf("with a connection that is configured for another server: on %q, want %s", l.on(), second)
		}
	}
	natstest.Stop(named(servers, second))
	l.moved(t, second)
}

// TestOutage: without any server, the connections wait between rounds, and are back on one server soon after it is.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, t.TempDir(), -1)
	port := portOf(s)
	l := connect(t, 8, s.ClientURL(), "nats://127.0.0.1:1")
	var mu sync.Mutex
	tries := 0
	l.all[0].Opts.ReconnectErrCB = nil
	l.add(t, "counted", nats.ReconnectErrHandler(func(*nats.Conn, error) { mu.Lock(); tries++; mu.Unlock() }))
	natstest.Stop(s)
	count := func() int { mu.Lock(); defer mu.Unlock(); return tries }
	eventually(t, "more than a round", func() bool { return count() > 3 })
	if n := count(); n > 6 {
		t.Errorf("%d tries in the first two rounds", n)
	}
	natstest.Start(t, t.TempDir(), port)
	eventually(t, "all connections", func() bool { return l.on() != "" })
}

func portOf(s *server.Server) (port int) {
	_, _ = fmt.Sscanf(s.Addr().String(), "127.0.0.1:%d", &port)
	return port
}

// TestOneLost: if the server closes one connection, the others stay, and it comes back.
func TestOneLost(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 3)
	l := connect(t, 4, urls(servers)...)
	home := l.on()
	back := make(chan struct{})
	lost := l.add(t, "lost", nats.ReconnectHandler(func(*nats.Conn) { close(back) }))
	cid, err := lost.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	if err := named(servers, home).DisconnectClientByID(cid); err != nil {
		t.Fatal(err)
	}
	await(t, "the reconnect", back)
	if l.on() != home {
		t.Errorf("connections on %q, want %s", l.on(), home)
	}
	for _, nc := range l.all[:4] {
		if nc.Stats().Reconnects != 0 {
			t.Errorf("%s has reconnected", nc.Opts.Name)
		}
	}
}

func await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(waitTimeout):
		t.Fatalf("timeout waiting for %s", what)
	}
}

// TestHang: a server that hangs is found by pings, and left.
func TestHang(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, 3)
	l := &linked{Link: New(slog.New(slog.DiscardHandler)), url: c.URL()}
	l.ping = 200 * time.Millisecond
	for i := range 8 {
		l.add(t, fmt.Sprint("connection ", i), nats.Timeout(300*time.Millisecond))
	}
	home := l.on()
	for _, n := range c.Nodes {
		if n.Name() == home {
			n.Hang()
		}
	}
	l.moved(t, home)
}

// TestMoveLosesNothing: when the server announces its end, the connections move before it closes them. Whatever it has
// sent to them arrives, and what they publish meanwhile is sent.
func TestMoveLosesNothing(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*linked, *server.Server){
		"lame duck": func(_ *linked, s *server.Server) { go s.LameDuckShutdown() },
		"shutdown": func(l *linked, _ *server.Server) {
			l.serverEnds(hostOf(l.all[0].ConnectedUrl()), l.all[0].ServerPool(), shutdownWait)
		}, // as WatchShutdown does
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := startCluster(t, 3)
			l := connect(t, 3, urls(servers)...)
			home := l.on()
			prepared := 0
			l.BeforeMove(func(ctx context.Context) func() {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("a preparation has no time limit")
				}
				prepared++
				return func() { prepared++ }
			})
			there := natstest.Connect(t, named(servers, home).ClientURL())
			other := natstest.Connect(t, servers[0].ClientURL())
			if home == "n0" {
				other = natstest.Connect(t, servers[1].ClientURL())
			}
			// A burst that the server has taken, and still sends when the connections move.
			const burst = 5000
			got := make(chan struct{}, 2*burst)
			if _, err := l.all[1].Subscribe("down", func(*nats.Msg) { got <- struct{}{} }); err != nil {
				t.Fatal(err)
			}
			up := make(chan struct{}, 2*burst)
			if _, err := other.Subscribe("up", func(*nats.Msg) { up <- struct{}{} }); err != nil {
				t.Fatal(err)
			}
			for _, nc := range []*nats.Conn{other, l.all[1]} {
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "interest", func() bool { return crossed(l.all[2], "up") })
			for range burst {
				if err := there.Publish("down", make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
			}
			if err := there.Flush(); err != nil {
				t.Fatal(err)
			}
			end(l, named(servers, home))
			sent := 0
			for l.on() == "" || l.on() == home {
				if err := l.all[2].Publish("up", nil); err != nil {
					t.Fatal(err)
				}
				sent++
				time.Sleep(100 * time.Microsecond) // paces the load; nothing waits for it
			}
			l.moved(t, home)
			for range burst {
				await(t, "what the server has sent", got)
			}
			for range sent {
				await(t, "what was published during the move", up)
			}
			eventually(t, "the end of the move", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return !l.moving })
			eventually(t, "one log line", func() bool { return strings.Contains(l.log.String(), "moved to") })
			if n := strings.Count(l.log.String(), "moved to"); n != 1 {
				t.Errorf("%d moves, want 1: %s", n, l.log)
			}
			if prepared != 2 {
				t.Errorf("preparation and its end called %d times, want 2", prepared)
			}
		})
	}
}

// crossed reports whether a request on a subject finds a subscription.
func crossed(nc *nats.Conn, subject string) bool {
	_, err := nc.Request(subject, nil, 50*time.Millisecond)
	return err != nats.ErrNoResponders
}

// TestLoginClosed checks that a connection is tried again that its server closes without an answer to its login.
func TestLoginClosed(t *testing.T) {
	t.Parallel()
	there := natstest.Start(t, t.TempDir(), -1)
	closes, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closes.Close() })
	go func() {
		for {
			c, err := closes.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("INFO {}\r\n")) // if it fails, the client has gone
			_, _ = c.Read(make([]byte, 1<<10))
			c.Close()
		}
	}()
	l, dials := New(slog.New(slog.DiscardHandler)), 0
	dial := func(closed int) (*nats.Conn, error) {
		dials = 0
		return l.Connect(func(last nats.Option) (*nats.Conn, error) {
			if dials++; dials <= closed {
				return nats.Connect("nats://"+closes.Addr().String(), last)
			}
			return nats.Connect(there.ClientURL(), last)
		})
	}
	nc, err := dial(dialAttempts - 1)
	if err != nil || dials != dialAttempts || !nc.IsConnected() {
		t.Fatalf("%d dials: %v", dials, err)
	}
	nc.Close()
	if _, err := dial(dialAttempts); err == nil || dials != dialAttempts {
		t.Errorf("%d dials: %v", dials, err)
	}
}
