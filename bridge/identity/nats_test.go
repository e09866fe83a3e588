package identity

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/kv"
)

// atOnce is a queue with a place for all.
type atOnce struct{}

func (atOnce) Enter(ctx context.Context) (func(), error) { return func() {}, ctx.Err() }

func TestDirectory(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	log := new(natstest.Log)
	newDirectory := func(timeout time.Duration) *Directory {
		return NewDirectory(DirectoryOptions{Conn: natstest.Connect(t, url), Prefix: "im", Timeout: timeout, Places: atOnce{}, Log: slog.New(slog.NewTextHandler(log, nil))})
	}
	d := newDirectory(time.Minute)
	ann := Credentials{Account: "ann", Password: "Q4 pencil", Address: "192.0.2.1"}
	if _, err := d.Check(t.Context(), ann); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("without a program: %v", err)
	}
	program := natstest.Connect(t, url)
	var mu sync.Mutex // guards the next two
	answer := ""
	var requests []string
	reply := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		answer = text
	}
	if _, err := program.QueueSubscribe("im.auth.*", "directory", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, m.Subject+" "+string(m.Data))
		if answer != "" {
			m.Respond([]byte(answer))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := program.Flush(); err != nil {
		t.Fatal(err)
	}
	full := Person{Source: NATS, Subject: "uid=ann", Account: "Ann", Name: "Ann B.", Mail: "ann@example.org", MailUnverified: true, Picture: "x"}
	for _, c := range []struct {
		answer string
		want   Person
		err    error
		lookup error
	}{
		{`{"result":"yes"}`, Person{Source: NATS, Account: "ann"}, nil, nil},
		{`{"result":"yes","account":"Ann","subject":"uid=ann","name":"Ann B.","mail":"ann@example.org","mail_unverified":true,"picture":"x"}`, full, nil, nil},
		{`{"result":"no"}`, Person{}, ErrRefused, ErrUnknown},
		{`{"result":"unknown"}`, Person{}, ErrUnknown, ErrUnknown},
		{`{"result":"yes","account":"bob"}`, Person{}, kv.ErrBusy, kv.ErrBusy},
		{`{"result":"Yes"}`, Person{}, kv.ErrBusy, kv.ErrBusy},
		{`{}`, Person{}, kv.ErrBusy, kv.ErrBusy},
		{`+OK`, Person{}, kv.ErrBusy, kv.ErrBusy},
		{`{"result":"yes","account":7}`, Person{}, kv.ErrBusy, kv.ErrBusy},
	} {
		reply(c.answer)
		if p, err := d.Check(t.Context(), ann); p != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %+v, %v", c.answer, p, err)
		}
		if p, err := d.Lookup(t.Context(), "ann"); p != c.want || !errors.Is(err, c.lookup) || c.lookup == nil && err != nil {
			t.Errorf("%s: lookup: %+v, %v", c.answer, p, err)
		}
	}
	mu.Lock()
	wantRequest(t, requests[0], "im.auth.login", map[string]string{"account": "ann", "password": "Q4 pencil", "address": "192.0.2.1"})
	wantRequest(t, requests[1], "im.auth.lookup", map[string]string{"account": "ann"})

	mu.Unlock()
	reply("")
	if _, err := newDirectory(time.Millisecond).Check(t.Context(), ann); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("a program that hangs: %v", err)
	}
	program.Close()
	if _, err := newDirectory(time.Second).Check(t.Context(), ann); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("a program that has ended: %v", err)
	}
	if text := log.String(); strings.Contains(text, "pencil") || !strings.Contains(text, "no program with the role auth is connected") || !strings.Contains(text, "auth.nats.timeout") {
		t.Errorf("log: %s", text)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := d.Check(ended, ann); !errors.Is(err, context.Canceled) {
		t.Errorf("a login that has ended: %v", err)
	}
}

func wantRequest(t *testing.T, got, on string, want map[string]string) {
	t.Helper()
	subject, body, _ := strings.Cut(got, " ")
	var fields map[string]string
	if err := json.Unmarshal([]byte(body), &fields); err != nil || subject != on || len(fields) != len(want) {
		t.Errorf("request %s: %v", got, err)
	}
	for name, value := range want {
		if fields[name] != value {
			t.Errorf("request %s: %s is %q", got, name, fields[name])
		}
	}
}

// TestDirectoryProblem: a status tells whether a program answers, without a login.
func TestDirectoryProblem(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	d := NewDirectory(DirectoryOptions{Conn: natstest.Connect(t, url), Prefix: "im", Timeout: time.Minute, Places: atOnce{}, Log: silent})
	want := func(what, want string) {
		t.Helper()
		if got := d.Problem(t.Context()); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	const absent = "no program with the role auth is connected"
	want("before the first login", absent)
	program := natstest.Connect(t, url)
	var lookups atomic.Int32
	answering, err := program.Subscribe("im.auth.lookup", func(m *nats.Msg) {
		lookups.Add(1)
		m.Respond([]byte(`{"result":"unknown"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Flush(); err != nil {
		t.Fatal(err)
	}
	want("with a program", "")
	want("with a program, again", "")
	if n := lookups.Load(); n != 1 {
		t.Errorf("the program was asked %d times, want 1", n)
	}
	if err := errors.Join(answering.Unsubscribe(), program.Flush()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lookup(t.Context(), "ann"); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("a program that has ended: %v", err)
	}
	want("after a lookup has failed", absent)

	asked := make(chan *nats.Msg, 1)
	if _, err := program.ChanSubscribe("im.auth.lookup", asked); err != nil {
		t.Fatal(err)
	}
	if err := program.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	problem := make(chan string)
	go func() { problem <- d.Problem(ctx) }()
	question := <-asked
	cancel()
	if got := <-problem; got != absent { // what is known so far
		t.Errorf("while a program hangs: %q", got)
	}
	if err := question.Respond([]byte(`{"result":"unknown"}`)); err != nil {
		t.Fatal(err)
	}
	want("after its answer", "")
}
