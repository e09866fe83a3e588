package bridgetest

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"imctl/kv"
)

// User is a registered user with a token.
type User struct{ ID, Account, Password, Token string }

var serial atomic.Int64

// Register creates a user with a new account.
func (s *Server) Register(t testing.TB) User {
	t.Helper()
	k := strconv.FormatInt(serial.Add(1), 10)
	u := User{Account: "Somebody " + k, Password: "pass word+" + k + "&é"}
	s.Secret(u.Password)
	created, err := s.Accounts.Register(t.Context(), kv.User{Account: u.Account, Mail: "m" + k + "@example.org", Profile: kv.Profile{Name: u.Account}}, u.Password)
	if err != nil {
		t.Fatalf("register %s: %v", u.Account, err)
	}
	u.ID = created.ID
	if u.Token, err = s.Store.Tokens.Issue(t.Context(), u.ID, kv.NewID(), kv.Origin{}); err != nil {
		t.Fatal(err)
	}
	s.Secret(u.Token)
	return u
}

// RegisterFriends creates two users who are friends.
func (s *Server) RegisterFriends(t testing.TB) (a, b User) {
	t.Helper()
	a, b = s.Register(t), s.Register(t)
	s.Befriend(t, a, b)
	return a, b
}

// Befriend makes two users friends.
func (s *Server) Befriend(t testing.TB, a, b User) {
	t.Helper()
	if _, err := s.Friends.Befriend(t.Context(), a.ID, b.ID); err != nil {
		t.Fatal(err)
	}
}

// Login is the answer to a login.
type Login struct {
	Code    int
	Token   string
	Friends []struct {
		ID     string
		Online bool
	}
}

// Session is a user's WebSocket.
type Session struct{ ws *websocket.Conn }

// Login opens a session with account and password.
func (s *Server) Login(t testing.TB, u User) (*Session, Login) {
	t.Helper()
	c := s.OpenSession(t, u)
	frame := c.Next(t)
	var answer Login
	if err := json.Unmarshal([]byte(frame), &answer); err != nil || answer.Code != 200 {
		t.Fatalf("login of %s: %s, %v", u.Account, frame, err)
	}
	s.Secret(answer.Token)
	return c, answer
}

// OpenSession opens a WebSocket with account and password. Its first frame is the answer to the login.
func (s *Server) OpenSession(t testing.TB, u User) *Session {
	t.Helper()
	return s.open(t, url.Values{"account": {u.Account}, "password": {u.Password}})
}

// OpenByToken opens a WebSocket with id and token. Its first frame is the answer to the login.
func (s *Server) OpenByToken(t testing.TB, u User) *Session {
	t.Helper()
	return s.open(t, url.Values{"id": {u.ID}, "token": {u.Token}})
}

func (s *Server) open(t testing.TB, q url.Values) *Session {
	t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: WaitTimeout}
	ws, _, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/im/login?"+q.Encode(), nil)
	if err != nil {
		t.Fatalf("WebSocket: %v", err)
	}
	t.Cleanup(func() { ws.Close() })
	return &Session{ws}
}

// WantClosed reads frames until the session ends. It fails the test unless the server closes it with the given code.
func (c *Session) WantClosed(t testing.TB, code int) {
	t.Helper()
	if err := c.ws.SetReadDeadline(time.Now().Add(WaitTimeout)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, _, err := c.ws.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, code) {
				t.Errorf("the session ended with %v, want code %d", err, code)
			}
			return
		}
	}
}

// Close ends the session as a client does, and waits until the server has closed it.
func (c *Session) Close(t testing.TB) {
	t.Helper()
	frame := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := c.ws.WriteControl(websocket.CloseMessage, frame, time.Now().Add(WaitTimeout)); err != nil {
		t.Fatalf("close: %v", err)
	}
	c.WantClosed(t, websocket.CloseNormalClosure)
}

// Send writes one frame.
func (c *Session) Send(t testing.TB, frame string) {
	t.Helper()
	if err := c.ws.SetWriteDeadline(time.Now().Add(WaitTimeout)); err != nil {
		t.Fatal(err)
	}
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// Next reads one frame.
func (c *Session) Next(t testing.TB) string {
	t.Helper()
	if err := c.ws.SetReadDeadline(time.Now().Add(WaitTimeout)); err != nil {
		t.Fatal(err)
	}
	_, frame, err := c.ws.ReadMessage()
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(frame)
}

// Want reads frames and compares them with frames.
func (c *Session) Want(t testing.TB, frames ...string) {
	t.Helper()
	for _, want := range frames {
		if got := c.Next(t); got != want {
			t.Fatalf("frame:\n got %s\nwant %s", got, want)
		}
	}
}
