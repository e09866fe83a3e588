package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/wire"
)

// server has the subjects of a user, and keeps its conversation with one friend.
type server struct {
	nc *nats.Conn

	mu       sync.Mutex // guards the fields below
	kept     []Dialogue
	got      uint64
	sent     []string    // ids of what the user sent, once for each attempt
	refusals []wire.Code // of the next dialogues
}

const me, friend = "me", "friend"

func newServer(t *testing.T) (s *server, url string) {
	t.Helper()
	ns := natstest.Start(t, t.TempDir(), -1)
	s = &server{nc: natstest.Connect(t, ns.ClientURL())}
	for _, filter := range []string{"im.call." + me + ".*", "im.send." + me} {
		if _, err := s.nc.Subscribe(filter, func(m *nats.Msg) {
			text, err := json.Marshal(s.answer(m))
			if err = errors.Join(err, m.Respond(text)); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return s, ns.ClientURL()
}

func (s *server) answer(m *nats.Msg) any {
	var r struct {
		ID, Payload string
		After, Got  uint64
	}
	if json.Unmarshal(m.Data, &r) != nil {
		return map[string]any{"code": wire.ProtocolError}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch last := uint64(len(s.kept)); m.Subject[strings.LastIndexByte(m.Subject, '.')+1:] {
	case "talks":
		return map[string]any{"code": 200, "talks": []any{map[string]any{"with": friend, "last": last, "got": s.got}}}
	case "dialogues":
		return map[string]any{"code": 200, "dialogues": s.kept[r.After:min(r.After+2, last)]} // short pages, so that there are several
	case "got":
		s.got = max(s.got, r.Got)
		return map[string]any{"code": 200}
	case "found":
		return map[string]any{"code": wire.NameEmpty}
	}
	s.sent = append(s.sent, r.ID)
	if len(s.refusals) > 0 {
		code := s.refusals[0]
		s.refusals = s.refusals[1:]
		return map[string]any{"code": code, "id": r.ID}
	}
	return map[string]any{"code": wire.DialogueKept, "id": r.ID, "n": s.keep(me, r.Payload).N}
}

// keep adds a dialogue. The caller holds s.mu.
func (s *server) keep(from, payload string) Dialogue {
	d := Dialogue{ID: fmt.Sprint("id-", len(s.kept)+1), From: from, Payload: payload, With: friend, N: uint64(len(s.kept) + 1)}
	s.kept = append(s.kept, d)
	return d
}

// add adds a dialogue of the friend, and returns it.
func (s *server) add(payload string) Dialogue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keep(friend, payload)
}

// deliver sends a dialogue to the client. Its acknowledgement arrives in the channel.
func (s *server) deliver(t *testing.T, d Dialogue) chan error {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := make(chan error, 1)
	go func() {
		_, err := s.nc.Request("im.user."+me+".dialogue", text, 10*time.Second)
		acknowledged <- err
	}()
	return acknowledged
}

func (s *server) state() (got uint64, sent []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got, slices.Clone(s.sent)
}

func connect(t *testing.T, url string, notice func(context.Context, Notice)) *Client {
	t.Helper()
	c, err := Connect(t.Context(), Config{URL: url, ID: me, Notice: notice})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// read returns the payloads of dialogues, up to the last one, which it leaves without an acknowledgement.
func read(t *testing.T, c *Client, last string) (all []string) {
	t.Helper()
	for d := range c.Dialogues(t.Context()) {
		all = append(all, d.Payload)
		if d.Payload == last {
			return all
		}
	}
	t.Errorf("the loop ended after %q: %v", all, c.Err())
	return all
}

// TestDialogues: a client reads what it has missed, in order, and what arrives, also after a gap and a reconnect. A dialogue
// is acknowledged when the loop asks for the next one, and not before.
func TestDialogues(t *testing.T) {
	t.Parallel()
	s, url := newServer(t)
	for _, payload := range []string{"a", "b", "c", "d"} {
		s.add(payload)
	}
	s.mu.Lock()
	s.got = 1
	s.mu.Unlock()
	c := connect(t, url, nil)
	if got := read(t, c, "c"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("read %q", got)
	}
	if got, _ := s.state(); got != 2 {
		t.Errorf("the client has acknowledged %d", got)
	}
	payloads := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for d := range c.Dialogues(ctx) {
			payloads <- d.Payload
		}
	}()
	want := func(all ...string) {
		t.Helper()
		for _, one := range all {
			if got := <-payloads; got != one {
				t.Errorf("read %q, want %q", got, one)
			}
		}
	}
	want("c", "d") // the loop before ended at c
	acknowledged := []chan error{s.deliver(t, s.add("e"))}
	want("e")
	s.add("f") // is not delivered: a gap
	acknowledged = append(acknowledged, s.deliver(t, s.add("g")))
	want("f", "g")
	acknowledged = append(acknowledged, s.deliver(t, s.kept[1])) // was handled before
	for _, one := range acknowledged {
		if err := <-one; err != nil {
			t.Errorf("the acknowledgement: %v", err)
		}
	}
	s.add("h")
	if err := c.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	want("h")
	cancel()
	<-ended
}

// TestSend: a dialogue is sent with the same id until it is stored, or refused for good. What the user sends is no gap.
func TestSend(t *testing.T) {
	t.Parallel()
	s, url := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	var request Person
	c := connect(t, url, func(_ context.Context, n Notice) { request = n.Request; cancel() })
	first := s.add("first")
	s.deliver(t, first)
	if got := read(t, c, "first"); len(got) != 1 {
		t.Errorf("read %q", got)
	}
	s.mu.Lock()
	s.refusals = []wire.Code{wire.SendFailed}
	s.mu.Unlock()
	d, err := c.Send(t.Context(), Dialogue{To: friend, Payload: "answer", ID: "answer-1"})
	if err != nil || d.N != 2 {
		t.Errorf("sent %+v, %v", d, err)
	}
	if _, sent := s.state(); !slices.Equal(sent, []string{"answer-1", "answer-1"}) {
		t.Errorf("attempts %q", sent)
	}
	s.mu.Lock()
	s.refusals = []wire.Code{wire.NotFriends}
	s.mu.Unlock()
	if _, err := c.Send(t.Context(), Dialogue{To: friend, Payload: "x"}); !errors.Is(err, wire.NotFriends) {
		t.Errorf("a refused dialogue: %v", err)
	}
	if err := c.Call(t.Context(), "found", nil, nil); !errors.Is(err, wire.NameEmpty) {
		t.Errorf("a refused call: %v", err)
	}
	s.deliver(t, s.add("next"))
	if got := read(t, c, "next"); !slices.Equal(got, []string{"first", "next"}) {
		t.Errorf("read %q", got)
	}
	if err := s.nc.Publish("im.user."+me+".notice", []byte(`{"code":520,"message":"Apply For a Friend","ok":true,"request":{"id":"x","name":"X"}}`)); err != nil {
		t.Fatal(err)
	}
	for range c.Dialogues(ctx) { // which the notice ends
		continue
	}
	if request.Name != "X" {
		t.Errorf("the request is of %+v", request)
	}
}

// TestClose: a closed client ends its loop and refuses calls, and none of its goroutines is left.
func TestClose(t *testing.T) {
	s, url := newServer(t)
	if _, err := s.nc.Request("im.user."+me+".dialogue", nil, time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Fatal(err) // the first request of the server's own connection starts goroutines
	}
	before := connections()
	c, err := Connect(t.Context(), Config{URL: url, ID: me})
	if err != nil {
		t.Fatal(err)
	}
	s.add("x")
	ended := make(chan struct{})
	reading := make(chan struct{})
	go func() {
		defer close(ended)
		for range c.Dialogues(t.Context()) {
			close(reading)
		}
	}()
	s.deliver(t, s.kept[0])
	<-reading
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	if _, err := c.Send(t.Context(), Dialogue{To: friend}); !errors.Is(err, ErrClosed) || !errors.Is(c.Err(), ErrClosed) {
		t.Errorf("after Close: %v, %v", err, c.Err())
	}
	deadline := time.Now().Add(10 * time.Second)
	for connections() > before {
		if time.Now().After(deadline) {
			t.Fatal("goroutines of the connection are left")
		}
		runtime.Gosched()
	}
}

// connections returns the number of goroutines of NATS clients.
func connections() int {
	buffer := make([]byte, 1<<20)
	return strings.Count(string(buffer[:runtime.Stack(buffer, true)]), "created by github.com/nats-io/nats")
}

// TestConnectFails: wrong credentials and a missing id are told at once.
func TestConnectFails(t *testing.T) {
	t.Parallel()
	_, url := newServer(t)
	if _, err := Connect(t.Context(), Config{URL: url}); err == nil || !strings.Contains(err.Error(), "set ID") {
		t.Errorf("without an id: %v", err)
	}
	if _, err := Connect(t.Context(), Config{URL: "nats://127.0.0.1:1", ID: me}); !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("without a server: %v", err)
	}
}

// TestService: the context of a service is enough, with and without the inbox_prefix of its user.
func TestService(t *testing.T) {
	t.Parallel()
	s, url := newServer(t)
	for subject, body := range map[string]string{"im.service.alerts.self": `{"code":200,"user":{"id":"me"}}`, "im.read.alerts.user": `{"code":200,"user":{"id":"friend","account":"ada"}}`,
		"im.service.alerts.befriend": `{"code":512}`} {
		if _, err := s.nc.Subscribe(subject, func(m *nats.Msg) {
			if err := m.Respond([]byte(body)); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"alone": `{"url":%q,"user":"alerts","password":"x"}`, "with inbox": `{"url":%q,"user":"alerts","password":"x","inbox_prefix":"_INBOX.me"}`} {
		file := filepath.Join(t.TempDir(), "alerts.json")
		if err := os.WriteFile(file, fmt.Appendf(nil, text, url), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Connect(t.Context(), Config{Context: file})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var answer struct{ User struct{ ID string } }
		if err := c.Read(t.Context(), "user", map[string]any{"account": "ada"}, &answer); err != nil || answer.User.ID != friend {
			t.Errorf("%s: read: %+v, %v", name, answer, err)
		}
		if err := c.Befriend(t.Context(), friend); !errors.Is(err, wire.NotFriends) {
			t.Errorf("%s: befriend: %v", name, err)
		}
		if d, err := c.Send(t.Context(), Dialogue{To: friend, Payload: "Deployed"}); err != nil || c.ID() != me || d.N == 0 {
			t.Errorf("%s: sent %+v as %q: %v", name, d, c.ID(), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"url":%q,"user":"other","password":"x"}`, url), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(t.Context(), Config{Context: file}); !errors.Is(err, errNoID) || !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("the context of no service: %v", err)
	}
	if err := connect(t, url, nil).Befriend(t.Context(), friend); err == nil {
		t.Error("a user befriends as a service")
	}
}
