package natsauth_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/kv"
)

// TestConnectionsPerUser checks that concurrent logins of one user, or of one consumer, get no more connections than
// the limit, that other users are not affected, and that a connection that ends makes room for another.
func TestConnectionsPerUser(t *testing.T) {
	t.Parallel()
	const limit = 3
	s := bridgetest.Start(t, bridgetest.Options{Connections: limit})
	p, other := s.Register(t), s.Register(t)
	consumer := s.AddAttachment(t, "archive", kv.RoleConsumer, "")
	for _, c := range []struct{ user, password string }{{p.ID, p.Token}, {consumer.User, consumer.Password}} {
		var mu sync.Mutex
		var open []*bridgetest.Client
		var wg sync.WaitGroup
		for range 8 * limit {
			wg.Go(func() {
				nc, err := s.Dial(c.user, c.password)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					open = append(open, nc)
					t.Cleanup(nc.Close)
				case errors.Is(err, nats.ErrAuthorization):
					t.Errorf("a connection over the limit: %v, want a lost connection", err)
				}
			})
		}
		wg.Wait()
		if len(open) != limit {
			t.Fatalf("%d connections, want %d", len(open), limit)
		}
		open[0].Close()
		eventually(t, "room for another connection", func() bool {
			nc, err := s.Dial(c.user, c.password)
			if err == nil {
				t.Cleanup(nc.Close)
			}
			return err == nil
		})
		if nc, err := s.Dial(c.user, c.password); err == nil {
			nc.Close()
			t.Error("one connection more than the limit")
		}
	}
	s.AsUser(t, other)
	// Another bridge opens a connection for each processor, and more.
	gateway := s.AddAttachment(t, "gateway", kv.RoleBridge, "")
	for range 4 * limit {
		s.AsAttachment(t, gateway)
	}
}

// TestSubscriptionsPerConnection checks that a user with too many subscriptions loses its connection, and is put off
// when it comes back. A user with the honest number stays.
func TestSubscriptionsPerConnection(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]bool{"embedded": false, "attached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			subscriptionsPerConnection(t, bridgetest.Start(t, bridgetest.Options{AsksSystem: asks}))
		})
	}
}

func subscriptionsPerConnection(t *testing.T, s *bridgetest.Server) {
	t.Helper()
	honest, greedy := s.Register(t), s.Register(t)
	a, b := s.AsUser(t, honest), s.AsUser(t, greedy)
	subscribe := func(c *bridgetest.Client, id string, n int) {
		t.Helper()
		for i := range n {
			if _, err := c.SubscribeSync(fmt.Sprintf("_INBOX.%s.%d", id, i)); err != nil && !c.IsClosed() {
				t.Fatal(err)
			}
		}
	}
	subscribe(a, honest.ID, 500)
	subscribe(b, greedy.ID, 20000)
	b.WantClosed(t, "too many subscriptions")
	// At once: logins are put off for a minute.
	if nc, err := s.Dial(greedy.Account, greedy.Password); err == nil || errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the next login: got error %v, want a lost connection", err)
		if err == nil {
			nc.Close()
		}
	}
	if err := a.FlushTimeout(bridgetest.WaitTimeout); err != nil {
		t.Errorf("the other user: %v", err)
	}
	if log := s.Log(); !strings.Contains(log, "exceeds a limit") || !strings.Contains(log, "name=user:"+greedy.ID) {
		t.Error("the log does not name the user that exceeds a limit")
	}
}

// TestPendingBytes checks that a user that does not read loses its connection long before NATS's own limit.
func TestPendingBytes(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]bool{"embedded": false, "attached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pendingBytes(t, bridgetest.Start(t, bridgetest.Options{AsksSystem: asks}))
		})
	}
}

func pendingBytes(t *testing.T, s *bridgetest.Server) {
	t.Helper()
	p := s.Register(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.NATS.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(bridgetest.WaitTimeout)); err != nil {
		t.Fatal(err)
	}
	inbox := "_INBOX." + p.ID + ".x"
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"user\":%q,\"pass\":%q}\r\nSUB %s 1\r\nPING\r\n", p.ID, p.Token, inbox)
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "PONG") {
			break
		}
	}
	payload := make([]byte, 1<<20)
	for range 40 { // more than the buffers of the sockets and the limit, and less than NATS's limit
		if err := s.NC.Publish(inbox, payload); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the connection to be closed", func() bool { return strings.Contains(s.Log(), `limit="pending bytes" name=user:`+p.ID) })
}
