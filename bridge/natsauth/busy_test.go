package natsauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/governor"
	"imctl/bridge/subject"
	"imctl/kv"
)

// patient connects a client that reconnects as applications do. fatal receives an error of authorization, and the end
// of the connection.
func patient(t *testing.T, s *bridgetest.Server, user, password string) (nc *nats.Conn, fatal chan error, reconnected chan struct{}) {
	t.Helper()
	fatal, reconnected = make(chan error, 64), make(chan struct{}, 64)
	nc, err := nats.Connect(s.NATS.URL(), nats.UserInfo(user, password), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.Timeout(bridgetest.WaitTimeout), nats.ReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if isAuthError(err) {
				fatal <- err
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if isAuthError(err) {
				fatal <- err
			}
		}),
		nats.ClosedHandler(func(nc *nats.Conn) { fatal <- fmt.Errorf("closed: %w", nc.LastError()) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, fatal, reconnected
}

func isAuthError(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked)
}

// system returns a connection to the system account.
func system(t *testing.T, s *bridgetest.Server) *nats.Conn {
	t.Helper()
	nc, err := s.NATS.System("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// kick closes a client's connection.
func kick(t *testing.T, s *bridgetest.Server, nc *nats.Conn) {
	t.Helper()
	cid, err := nc.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := system(t, s).Request(subject.ServerKick(nc.ConnectedServerId()), fmt.Appendf(nil, `{"cid":%d}`, cid), bridgetest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
}

// TestLimitedIsNoRefusal checks that a client with the right credentials gets no authorization error while a limit
// holds its logins back, and is back afterwards.
func TestLimitedIsNoRefusal(t *testing.T) {
	t.Parallel()
	limits := governor.Options{LoginFailures: governor.Rate{Events: 3, Per: time.Hour}, Picture: 64 << 10}
	s := bridgetest.Start(t, bridgetest.Options{Limits: limits})
	p := s.Register(t)
	nc, fatal, reconnected := patient(t, s, p.Account, p.Password)
	for n := range 3 {
		if _, err := s.Dial(p.Account, fmt.Sprint("wrong", n)); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("wrong credentials: got error %v, want %v", err, nats.ErrAuthorization)
		}
	}
	kick(t, s, nc)
	const attempts = 5 // a nats.js client gives up after the second refusal
	eventually(t, "the client to try again", func() bool { return strings.Count(s.Log(), "login to NATS put off") >= attempts })
	s.SetLimits(governor.Options{Picture: limits.Picture})
	select {
	case <-reconnected:
	case err := <-fatal:
		t.Fatalf("the client saw %v", err)
	case <-time.After(bridgetest.WaitTimeout):
		t.Fatal("the client is not back")
	}
	select {
	case err := <-fatal:
		t.Errorf("the client saw %v", err)
	default:
	}
	// Only the three wrong passwords are refusals in the log.
	if n := strings.Count(s.Log(), `level=WARN msg="127.0.0.1`); n != 1 {
		t.Errorf("%d lines about refusals, want 1", n)
	}
}

// TestBusyIsNoRefusal checks that logins that wait too long for a password to be checked are not refused.
func TestBusyIsNoRefusal(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{Hasher: kv.HasherOptions{MemoryKiB: 4 << 10, Passes: 2, Remember: -1,
		Queue: governor.NewQueue(governor.QueueOptions{Places: 1, Wait: time.Nanosecond, Busy: kv.ErrBusy})}})
	p := s.Register(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					// Wrong passwords occupy the only slot most of the time. Some of them are put off.
					if c, err := s.Dial(kv.NewID(), "wrong"); err == nil {
						c.Close()
					}
				}
			}
		})
	}
	put := false
	for deadline := time.Now().Add(bridgetest.WaitTimeout); !put; {
		c, err := s.Dial(p.Account, p.Password)
		if err == nil {
			c.Close()
		}
		put = err != nil
		if isAuthError(err) {
			t.Errorf("right credentials on a busy server: %v", err)
		}
		if time.Now().After(deadline) {
			t.Fatal("no login was put off")
		}
	}
	close(done)
	wg.Wait()
	s.AsUser(t, p)
}

// TestLoginBeforeTheBridge checks that a client that connects before the bridge answers logins is not refused.
func TestLoginBeforeTheBridge(t *testing.T) {
	t.Parallel()
	outcome := make(chan error, 1)
	s := bridgetest.Start(t, bridgetest.Options{BeforeBridge: func(s *bridgetest.Server) {
		go func() {
			c, err := s.Dial("early", "bird")
			if err == nil {
				c.Close()
			}
			outcome <- err
		}()
		sys, err := s.NATS.System("test")
		if err != nil {
			t.Error(err)
			return
		}
		defer sys.Close()
		eventually(t, "the login to wait", func() bool {
			m, err := sys.Request(subject.ServerConnections(sys.ConnectedServerId()), []byte(`{"auth":true}`), bridgetest.WaitTimeout)
			var answer struct {
				Data struct {
					Connections []struct {
						Account string
						User    string `json:"authorized_user"`
					}
				}
			}
			if err == nil {
				err = json.Unmarshal(m.Data, &answer)
			}
			if err != nil {
				t.Error(err)
				return true
			}
			for _, c := range answer.Data.Connections {
				if c.Account == "" && c.User == "early" {
					return true
				}
			}
			return false
		})
	}})
	s.Register(t)
	select {
	case err := <-outcome:
		if err == nil || isAuthError(err) {
			t.Errorf("the client got error %v, want a lost connection", err)
		}
	case <-time.After(bridgetest.WaitTimeout):
		t.Fatal("the login still waits")
	}
}
