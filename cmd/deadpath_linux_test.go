package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netPath is a network path between two hosts, each in its own network namespace, over a switch in a third one. When
// the switch is cut, packets are lost without an error at either host.
type netPath struct{ server, client, middle string }

const serverAddress = "10.73.0.1"

var paths atomic.Int64

func newNetPath(t *testing.T) *netPath {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the command ip is missing: install iproute2")
		}
		t.Skip("the command ip is missing")
	}
	name := func(role string) string { return fmt.Sprintf("imctl-%d-%d-%s", os.Getpid(), paths.Add(1), role) }
	p := &netPath{name("s"), name("c"), name("m")}
	for _, ns := range []string{p.server, p.client, p.middle} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "del", ns) })
	}
	ip(t, "-n", p.middle, "link", "add", "switch", "type", "bridge")
	ip(t, "-n", p.middle, "link", "set", "switch", "up")
	for port, host := range map[string]string{"s": p.server, "c": p.client} {
		ip(t, "link", "add", "eth0", "netns", host, "type", "veth", "peer", "name", port, "netns", p.middle)
		ip(t, "-n", p.middle, "link", "set", port, "master", "switch", "up")
	}
	ip(t, "-n", p.server, "addr", "add", serverAddress+"/24", "dev", "eth0")
	ip(t, "-n", p.client, "addr", "add", "10.73.0.2/24", "dev", "eth0")
	for _, host := range []string{p.server, p.client} {
		ip(t, "-n", host, "link", "set", "eth0", "up")
	}
	return p
}

// cut loses all packets from now on: the switch forwards nothing to the client.
func (p *netPath) cut(t *testing.T) {
	t.Helper()
	ip(t, "-n", p.middle, "link", "set", "c", "nomaster")
}

// heal ends the loss.
func (p *netPath) heal(t *testing.T) {
	t.Helper()
	ip(t, "-n", p.middle, "link", "set", "c", "master", "switch")
}

// dial connects from the client's end of the path.
func (p *netPath) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = inNamespace(p.client, func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// inNamespace runs f on a thread in the namespace. Sockets that f makes belong to the namespace. The thread returns to its
// own namespace, and goes on: the kernel kills the browsers that a thread has started when that thread ends.
func inNamespace(ns string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer own.Close()
			h, err := os.Open("/run/netns/" + ns)
			if err != nil {
				return err
			}
			defer h.Close()
			if err := unix.Setns(int(h.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			err = f()
			if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
				return errors.Join(err, back) // the thread stays locked, and ends with the goroutine
			}
			runtime.UnlockOSThread()
			return err
		}()
	}()
	return <-done
}

// listen makes the server accept connections at its end of the path too, and returns the URL.
func (p *netPath) listen(t *testing.T, s *server) string {
	t.Helper()
	var l net.Listener
	err := inNamespace(p.server, func() (err error) {
		l, err = net.Listen("tcp4", serverAddress+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if c := s.app.certs.TLSConfig(); c != nil {
		l, url = tls.NewListener(l, c), "https://"+l.Addr().String()
	}
	front := &http.Server{Handler: s.app.bridge.Handler(), ReadHeaderTimeout: waitTimeout}
	done := make(chan struct{})
	go func() { defer close(done); _ = front.Serve(l) }()
	t.Cleanup(func() { front.Close(); <-done })
	return url
}

// login opens a tunnel over the path. Its client reads and answers pings.
func (p *netPath) login(t *testing.T, m *member, url string) *tunnel {
	t.Helper()
	d := m.w.dialer()
	if d.TLSClientConfig != nil {
		d.TLSClientConfig = d.TLSClientConfig.Clone()
		d.TLSClientConfig.ServerName = "localhost"
	}
	d.NetDialContext = p.dial
	c, err := dialAt(t.Context(), d, url+"/im/login?"+query("account", m.account, "password", m.password), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.ws.Close() })
	frame := c.next(t)
	m.w.secret(firstGroup(frame, `"token":"([^"]*)"`))
	if (reply{body: frame}).code() != 200 {
		t.Fatalf("login: %s", frame)
	}
	return c
}

// TestDeadPath checks that dialogues to a friend behind a dead path are answered 200 for at most the write timeout, then
// 508.
func TestDeadPath(t *testing.T) {
	t.Parallel()
	for name, tls := range map[string]func(*Config){"plain": func(*Config) {}, "TLS": overTLS} {
		for quiet, wait := range map[string]time.Duration{"after talk": 0, "after silence": 1500 * time.Millisecond} {
			t.Run(name+" "+quiet, func(t *testing.T) {
				t.Parallel()
				const limit = 2 * time.Second
				s := start(t, tls, func(c *Config) { c.Sessions.WriteTimeout = limit })
				w := newWorld(t, s)
				a, b := w.newFriends(t)
				p := newNetPath(t)
				far := p.login(t, b, p.listen(t, s))
				b.tunnel.close(t)
				arrived := make(chan string, 1)
				go func() {
					for {
						frame, err := far.tryNext()
						if err != nil {
							close(arrived)
							return
						}
						arrived <- frame
					}
				}()
				if code := a.talk(t, b, "before"); code != 200 {
					t.Fatalf("dialogue before the outage: got code %d, want 200", code)
				}
				<-arrived
				time.Sleep(wait) // the test needs a silent connection
				p.cut(t)
				began, n, last := time.Now(), 0, time.Duration(0)
				for {
					sent := time.Since(began)
					code := a.talk(t, b, fmt.Sprint(n))
					if code == 508 {
						break
					}
					if code == 200 {
						n, last = n+1, sent
					}
					if sent > limit+waitTimeout/3 {
						t.Fatalf("%d dialogues were answered 200 for %v, without a 508", n, sent)
					}
					time.Sleep(20 * time.Millisecond)
				}
				t.Logf("%d dialogues answered 200, the last one after %v; 508 after %v", n, last, time.Since(began))
				if n == 0 {
					t.Error("no dialogue was lost, so the path was not dead")
				}
				for i := range 5 {
					if code := a.talk(t, b, fmt.Sprint("later ", i)); code != 508 {
						t.Errorf("later dialogue: got code %d, want 508", code)
					}
				}
				select {
				case frame, ok := <-arrived:
					if ok {
						t.Errorf("%s arrived over a path that is cut", frame)
					}
				default:
				}
			})
		}
	}
}
