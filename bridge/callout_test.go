package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// systemServer runs a NATS server with a system account that its user sys may connect to, and one for user joe.
func systemServer(t *testing.T) *server.Server {
	t.Helper()
	o := new(server.Options)
	if err := o.ProcessConfigString(`{port: -1, system_account: SYS, accounts: {
		SYS: {users: [{user: sys, password: x}]}, IM: {users: [{user: joe, password: x}, {user: eve, password: x}]}}}`); err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

// connection connects; the channel is closed when it is.
func connection(t *testing.T, s *server.Server, user string) (*nats.Conn, chan struct{}) {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "x"), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, closed
}

func wantClosed(t *testing.T, closed chan struct{}) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection is still there")
	}
}

func wantOpen(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Errorf("the connection: %v", err)
	}
}

// Who was let in by credentials that are good no more when NATS has let it in is thrown out.
func TestCalloutSettles(t *testing.T) {
	t.Parallel()
	s := systemServer(t)
	sys, _ := connection(t, s, "sys")
	c := &callout{nc: sys, kicker: &kicker{sys, slog.New(slog.DiscardHandler)}}
	failed := errors.New("no store")
	for name, x := range map[string]struct {
		good  bool
		err   error
		stays bool
	}{
		"good": {true, nil, true}, "good no more": {false, nil, false}, "not known": {false, failed, false},
	} {
		nc, closed := connection(t, s, "joe")
		id, err := nc.GetClientID()
		if err != nil {
			t.Fatal(err)
		}
		r := &jwt.AuthorizationRequestClaims{}
		r.Server.ID, r.ClientInformation.ID = s.ID(), id
		err = c.settle(r, &identity{still: func(context.Context) (bool, error) { return x.good, x.err }})
		if !errors.Is(err, x.err) {
			t.Errorf("%s: %v", name, err)
		}
		if x.stays {
			wantOpen(t, nc)
		} else {
			wantClosed(t, closed)
		}
	}
	// One that is gone by itself is no failure.
	r := &jwt.AuthorizationRequestClaims{}
	r.Server.ID, r.ClientInformation.ID = s.ID(), 1<<40
	if err := c.settle(r, &identity{still: func(context.Context) (bool, error) { return false, nil }}); err != nil {
		t.Error(err)
	}
}

// Connections are closed by account and user, and nobody else's.
func TestKicker(t *testing.T) {
	t.Parallel()
	s := systemServer(t)
	sys, _ := connection(t, s, "sys")
	k := &kicker{sys, slog.New(slog.DiscardHandler)}
	eve, _ := connection(t, s, "eve")
	var mine []chan struct{}
	for range 3 {
		_, closed := connection(t, s, "joe")
		mine = append(mine, closed)
	}
	for _, nobody := range []struct{ account, user string }{{"SYS", "joe"}, {"none", "joe"}, {"IM", "jo"}} {
		if err := k.user(t.Context(), nobody.account, nobody.user); err != nil {
			t.Errorf("%+v: %v", nobody, err)
		}
	}
	wantOpen(t, eve)
	select {
	case <-mine[0]:
		t.Fatal("closed for somebody else")
	default:
	}
	if err := k.user(t.Context(), "IM", "joe"); err != nil {
		t.Fatal(err)
	}
	for _, closed := range mine {
		wantClosed(t, closed)
	}
	wantOpen(t, eve)
	sys.Close()
	if err := k.user(t.Context(), "IM", "eve"); err == nil {
		t.Error("without the system account nobody can be sure")
	}
}

func TestValidFilter(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]bool{
		">": true, "dialogue.>": true, "dialogue.*.b": true, "user.created.*": true, "*": true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, ">.a": false, "a>": false, "a*.b": false, "a b": false, "ä": false, "a\r\n": false,
		fmt.Sprintf("%0300d", 1): false,
	} {
		if got := validFilter(filter); got != want {
			t.Errorf("%q: %t", filter, got)
		}
	}
}
