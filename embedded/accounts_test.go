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

// answerCallout answers every login that is not decided by the server itself.
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

func refuseAll(t *testing.T, s *Server) {
	answerCallout(t, s, func(*jwt.AuthorizationRequestClaims) []byte { return nil })
}

// admitTo lets a client into an account of the server.
func admitTo(s *Server, r *jwt.AuthorizationRequestClaims, account string) ([]byte, error) {
	user := jwt.NewUserClaims(r.UserNkey)
	user.Name, user.Audience = "tested", account
	signed, err := user.Encode(s.Issuer())
	if err != nil {
		return nil, err
	}
	answer := jwt.NewAuthorizationResponseClaims(r.UserNkey)
	answer.Audience, answer.Jwt = r.Server.ID, signed
	token, err := answer.Encode(s.Issuer())
	return []byte(token), err
}

// The callout decides about everybody whom the server does not know, and nobody in
// the account that all share can see what passwords were shown to it.
func TestCallout(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Listen: "127.0.0.1:0"})
	admin, err := s.Admin("curious")
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
		if r.ConnectOptions.Username != "someone" || r.ConnectOptions.Password != "something" {
			return nil
		}
		token, err := admitTo(s, r, Account)
		if err != nil {
			t.Error(err)
		}
		return token
	})
	if err := connectAs(s.URL(), "someone", "else"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a wrong password: %v", err)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(s.URL(), nats.UserInfo("someone", "something"), nats.NoReconnect(),
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
		t.Errorf("the administrator saw %v (%v)", m, err)
	}
	kick(t, s, "tested")
	select {
	case <-closed:
	case <-time.After(answerWait):
		t.Error("the connection is still there")
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
