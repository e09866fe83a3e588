package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
)

const (
	calloutSubject = "$SYS.REQ.USER.AUTH"
	answerWait     = 10 * time.Second
)

// answerCallout answers the logins of all users that are not in the server's configuration.
func answerCallout(t *testing.T, s *Server, answer func(*jwt.AuthorizationRequestClaims) []byte) {
	t.Helper()
	nc, err := s.Callout("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	_, err = nc.Subscribe(calloutSubject, func(m *nats.Msg) {
		r, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
		if err != nil {
			t.Error(err)
			return
		}
		if err := m.Respond(answer(r)); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refuseAll makes the callout refuse all logins.
func refuseAll(t *testing.T, s *Server) {
	answerCallout(t, s, func(*jwt.AuthorizationRequestClaims) []byte { return nil })
}

// admitTo returns the callout's answer that logs a client in to an account.
func admitTo(s *Server, r *jwt.AuthorizationRequestClaims, account string) ([]byte, error) {
	user := jwt.NewUserClaims(r.UserNkey)
	user.Name, user.Audience = "alice", account
	signed, err := user.Encode(s.Issuer())
	if err != nil {
		return nil, err
	}
	answer := jwt.NewAuthorizationResponseClaims(r.UserNkey)
	answer.Audience, answer.Jwt = r.Server.ID, signed
	token, err := answer.Encode(s.Issuer())
	return []byte(token), err
}

// TestCallout: the callout decides about all users that are not in the server's configuration. The administrator, in
// the account of all clients, does not see their passwords.
func TestCallout(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0"})
	admin, err := s.connect("observer", s.admin.User, s.admin.Password, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	seen, err := admin.SubscribeSync(">")
	if err == nil {
		_, err = admin.SubscribeSync("$SYS.>")
	}
	if err == nil {
		err = admin.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	answerCallout(t, s, func(r *jwt.AuthorizationRequestClaims) []byte {
		if r.ConnectOptions.Username != "alice" || r.ConnectOptions.Password != "secret" {
			return nil
		}
		token, err := admitTo(s, r, Account)
		if err != nil {
			t.Error(err)
		}
		return token
	})
	if err := connectAs(s.URL(), "alice", "wrong"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("login with a wrong password: got %v, want %v", err, nats.ErrAuthorization)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(s.URL(), nats.UserInfo("alice", "secret"), nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("last", nil); err != nil {
		t.Fatal(err)
	}
	m, err := seen.NextMsg(answerWait)
	if err != nil || m.Subject != "last" {
		t.Errorf("the administrator received %v (%v), want only the message on subject last", m, err)
	}
	kick(t, s, "alice")
	select {
	case <-closed:
	case <-time.After(answerWait):
		t.Error("the connection is still open")
	}
}

// kick closes all connections of a user.
func kick(t *testing.T, s *Server, user string) {
	t.Helper()
	nc, err := s.System("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m, err := nc.Request("$SYS.REQ.SERVER.PING.CONNZ", fmt.Appendf(nil, `{"acc": %q, "user": %q, "auth": true}`, Account, user), answerWait)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			ID    string `json:"server_id"`
			Conns []struct {
				CID  uint64 `json:"cid"`
				User string `json:"authorized_user"`
			} `json:"connections"`
		} `json:"data"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Data.Conns) != 1 || answer.Data.Conns[0].User != user {
		t.Fatalf("connections: %+v", answer.Data.Conns)
	}
	for _, c := range answer.Data.Conns {
		if _, err := nc.Request("$SYS.REQ.SERVER."+answer.Data.ID+".KICK", fmt.Appendf(nil, `{"cid": %d}`, c.CID), answerWait); err != nil {
			t.Error(err)
		}
	}
}
