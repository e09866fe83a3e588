package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"imctl/bridge/eventlog"
	"imctl/bridge/wire"
	"imctl/kv"
)

// node is a bridge behind an HTTP server.
type node struct {
	*Bridge
	base string // URL of the HTTP server
}

func startNode(t testing.TB, natsURL string, change ...func(*Options)) *node {
	t.Helper()
	b := startBridge(t, natsURL, eventlog.Options{}, change...)
	s := httptest.NewServer(b.Handler())
	t.Cleanup(s.Close)
	return &node{Bridge: b, base: s.URL}
}

const testPassword = "correct horse"

// users registers accounts whose names begin with name.
func (n *node) users(t testing.TB, name string, count int) (all []kv.User) {
	t.Helper()
	for i := range count {
		u, err := n.services.Accounts.Register(t.Context(), kv.User{Account: fmt.Sprint(name, i)}, testPassword)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// befriend makes two users friends. It tells no node.
func (n *node) befriend(t testing.TB, a, b kv.User) {
	t.Helper()
	if _, err := n.opts.Store.Rosters.Befriend(t.Context(), a.ID, b.ID); err != nil {
		t.Fatal(err)
	}
}

// dial opens a WebSocket, and returns it with its first frame.
func (n *node) dial(t testing.TB, query url.Values) (*websocket.Conn, []byte) {
	t.Helper()
	ws, r, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.base, "http")+"/im/login?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	t.Cleanup(func() { ws.Close() })
	_, frame, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return ws, frame
}

// login opens a session of a user by its password.
func (n *node) login(t testing.TB, u kv.User) *session {
	t.Helper()
	return n.open(t, url.Values{"account": {u.Account}, "password": {testPassword}, "push": {"1"}})
}

// resume opens a session of a user by a token.
func (n *node) resume(t testing.TB, u kv.User, token string) *session {
	t.Helper()
	return n.open(t, url.Values{"id": {u.ID}, "token": {token}})
}

func (n *node) open(t testing.TB, query url.Values) *session {
	t.Helper()
	return n.openWindow(t, query, 4)
}

// openWindow opens a session that has up to so many unanswered dialogues.
func (n *node) openWindow(t testing.TB, query url.Values, window int) *session {
	t.Helper()
	ws, frame := n.dial(t, query)
	s := &session{ws: ws, room: make(chan struct{}, window), ended: make(chan struct{}), answers: make(map[int]wire.Code),
		count: make(map[wire.Code]int), got: make(map[string][]int), presence: make(map[string]wire.Code)}
	if err := json.Unmarshal(frame, &s.login); err != nil || s.login.Code != wire.Success {
		t.Fatalf("login: code %d, %v", s.login.Code, err)
	}
	s.id = s.login.Profile.ID
	go s.read()
	return s
}

// call makes a call over HTTP with the session's token, and returns the code of the answer.
func (n *node) call(t testing.TB, s *session, path string, fields url.Values) wire.Code {
	t.Helper()
	query := url.Values{"id": {s.id}, "token": {s.login.Token}}
	for key, values := range fields {
		query[key] = values
	}
	r, err := http.Get(n.base + path + "?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var got struct{ Code wire.Code }
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return got.Code
}

// session is a client's end of a session. A goroutine reads its frames. At most one goroutine sends dialogues, whose
// ids are numbers.
type session struct {
	id    string // of the user
	login wire.Login
	ws    *websocket.Conn
	room  chan struct{} // has an element for each unanswered dialogue
	ended chan struct{} // closed when the connection has ended
	err   error         // the end of the connection, or a wrong frame; set before ended is closed

	mu       sync.Mutex // guards the fields below
	sent     int        // the id of the last dialogue
	answers  map[int]wire.Code
	count    map[wire.Code]int    // of answers
	got      map[string][]int     // ids of the dialogues that arrived, by sender
	presence map[string]wire.Code // the last presence notice about each friend
}

// read reads frames until the connection ends.
func (s *session) read() {
	defer close(s.ended)
	for s.err == nil {
		var frame []byte
		if _, frame, s.err = s.ws.ReadMessage(); s.err == nil {
			s.err = s.take(frame)
		}
	}
}

func (s *session) take(frame []byte) error {
	var f wire.Frame
	if err := json.Unmarshal(frame, &f); err != nil {
		return fmt.Errorf("frame %s: %w", frame, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f.Code {
	case wire.FriendOnline, wire.FriendOffline:
		s.presence[f.ID] = f.Code
		return nil
	case wire.RefreshProfile, wire.FriendApply, wire.FriendAdded, wire.FriendRemoved, wire.DialogueDelivered, wire.DialogueRead:
		return nil
	}
	if f.ToFriend != "" { // an echo
		return nil
	}
	id, err := strconv.Atoi(f.ID)
	if err != nil {
		return fmt.Errorf("frame %s: %w", frame, err)
	}
	if f.From != "" {
		s.got[f.From] = append(s.got[f.From], id)
		return nil
	}
	if before, ok := s.answers[id]; ok {
		return fmt.Errorf("dialogue %d was answered %d and %d", id, before, f.Code)
	}
	s.answers[id] = f.Code
	s.count[f.Code]++
	<-s.room
	return nil
}

// send sends a dialogue as soon as the window allows, and returns its id.
func (s *session) send(to string) (int, error) {
	select {
	case s.room <- struct{}{}:
	case <-s.ended:
		return 0, fmt.Errorf("the session has ended: %w", s.err)
	}
	s.mu.Lock()
	s.sent++
	id := s.sent
	s.mu.Unlock()
	return id, s.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":"%d","toFriend":"%s","payload":"p"}`, id, to))
}

// say sends a dialogue and returns the code of its answer.
func (s *session) say(t testing.TB, to string) wire.Code {
	t.Helper()
	id, err := s.send(to)
	if err != nil {
		t.Fatal(err)
	}
	var code wire.Code
	wait(t, "an answer", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		code = s.answers[id]
		return code != 0
	})
	return code
}

// answered returns how many dialogues were answered with the code.
func (s *session) answered(code wire.Code) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[code]
}

// shown returns the last presence notice about a friend, or 0.
func (s *session) shown(friend string) wire.Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.presence[friend]
}

// from returns the ids of the dialogues that arrived from a user.
func (s *session) from(user string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[user]
}

// alive reports whether the connection has not ended.
func (s *session) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// wantClose waits until the server closes the session, and checks how.
func (s *session) wantClose(t testing.TB, code int, reason string) {
	t.Helper()
	wait(t, "the end of the session", func() bool { return !s.alive() })
	var closed *websocket.CloseError
	if !errors.As(s.err, &closed) || closed.Code != code || closed.Text != reason {
		t.Errorf("the session ended with %v, want close code %d and %q", s.err, code, reason)
	}
}
