package natsauth

import (
	"context"
	"errors"
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

// connectTo connects as a user. The channel is closed when the connection is.
func connectTo(t *testing.T, s *server.Server, user string) (*nats.Conn, chan struct{}) {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "x"), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, closed
}

func disconnector(system *nats.Conn) *Disconnector {
	return NewDisconnector("im", system, Access{}, nil, slog.New(slog.DiscardHandler))
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

// A client whose credentials are revoked while NATS admits it is disconnected.
func TestCalloutChecksAgain(t *testing.T) {
	t.Parallel()
	s := systemServer(t)
	sys, _ := connectTo(t, s, "sys")
	c := &Callout{nc: sys, CalloutDeps: CalloutDeps{Disconnector: disconnector(sys)}}
	failed := errors.New("no store")
	for name, x := range map[string]struct {
		good  bool
		err   error
		stays bool
	}{
		"valid": {true, nil, true}, "revoked": {false, nil, false}, "unknown": {false, failed, false},
	} {
		nc, closed := connectTo(t, s, "joe")
		id, err := nc.GetClientID()
		if err != nil {
			t.Fatal(err)
		}
		r := &jwt.AuthorizationRequestClaims{}
		r.Server.ID, r.ClientInformation.ID = s.ID(), id
		err = c.settle(r, &identity{recheck: func(context.Context) (bool, error) { return x.good, x.err }})
		if !errors.Is(err, x.err) {
			t.Errorf("%s: %v", name, err)
		}
		if x.stays {
			wantOpen(t, nc)
		} else {
			wantClosed(t, closed)
		}
	}
	// A connection that has ended already is no error.
	r := &jwt.AuthorizationRequestClaims{}
	r.Server.ID, r.ClientInformation.ID = s.ID(), 1<<40
	if err := c.settle(r, &identity{recheck: func(context.Context) (bool, error) { return false, nil }}); err != nil {
		t.Error(err)
	}
}

// The disconnector closes the connections of one name in one account, and no others.
func TestDisconnector(t *testing.T) {
	t.Parallel()
	s := systemServer(t)
	sys, _ := connectTo(t, s, "sys")
	d := disconnector(sys)
	eve, _ := connectTo(t, s, "eve")
	var mine []chan struct{}
	for range 3 {
		_, closed := connectTo(t, s, "joe")
		mine = append(mine, closed)
	}
	for _, other := range []struct{ account, user string }{{"SYS", "joe"}, {"none", "joe"}, {"IM", "jo"}} {
		if err := d.close(t.Context(), other.account, other.user); err != nil {
			t.Errorf("%+v: %v", other, err)
		}
	}
	wantOpen(t, eve)
	select {
	case <-mine[0]:
		t.Fatal("closed for another name or account")
	default:
	}
	if err := d.close(t.Context(), "IM", "joe"); err != nil {
		t.Fatal(err)
	}
	for _, closed := range mine {
		wantClosed(t, closed)
	}
	wantOpen(t, eve)
	sys.Close()
	if err := d.close(t.Context(), "IM", "eve"); err == nil {
		t.Error("close succeeds without the system account")
	}
}
