package tunnel

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/delivery"
	"imctl/bridge/eventlog"
	"imctl/bridge/governor"
	"imctl/bridge/hook"
	"imctl/bridge/im"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// sink is a NATS server that reads everything and answers only pings. It does not allocate, so that a test counts only
// the allocations of this program.
type sink struct{}

func (sink) Dial(string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		if _, err := io.WriteString(server, "INFO {\"server_id\":\"sink\",\"max_payload\":1048576,\"headers\":true}\r\n"); err != nil {
			return
		}
		ping, pong := []byte("PING\r\n"), []byte("PONG\r\n")
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			if bytes.Contains(b[:n], ping) {
				if _, err := server.Write(pong); err != nil {
					return
				}
			}
		}
	}()
	return client, nil
}

// stage is a tunnel with lanes that no NATS server feeds, and two friends with a session each on real sockets, whose
// peers read everything.
type stage struct {
	tunnel   *Tunnel
	lanes    *delivery.Lanes
	registry *prometheus.Registry
	a, b     *Session
}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := emptyStage(t, stageOptions{sessions: SessionOptions{Buffer: 1 << 10, InFlight: 1 << 10, WriteTimeout: time.Minute}, timeout: time.Minute})
	s.a, s.b = s.newSession(t), s.newSession(t)
	a, b := kv.NewID(), kv.NewID()
	s.join(a, b, s.a)
	s.join(b, a, s.b)
	return s
}

type stageOptions struct {
	sessions  SessionOptions
	dialogues governor.Rate
	timeout   time.Duration // of a dialogue
}

type noLog struct{}

func (noLog) Session(eventlog.SessionEvent, string, string, string) {}

// emptyStage returns a stage without sessions.
func emptyStage(t testing.TB, opts stageOptions) *stage {
	t.Helper()
	connect := func(_ string, opts ...nats.Option) (*nats.Conn, error) {
		return nats.Connect("nats://127.0.0.1", append(opts, nats.SetCustomDialer(sink{}), nats.FlusherTimeout(0))...)
	}
	s := &stage{registry: prometheus.NewRegistry()}
	always := func() bool { return true }
	log := slog.New(slog.DiscardHandler)
	dialogues := delivery.NewMetrics(s.registry)
	nc, err := connect("notices")
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := hook.Open(nc, hook.Options{Prefix: "im"}) // no moderator is attached
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hooks.Close)
	s.lanes, err = delivery.New(delivery.Options{Lanes: 1, Prefix: "im", Timeout: opts.timeout, Connect: connect, Notices: delivery.NewNotices(nc, "im"),
		Fresh: always, Alone: always, Hooks: hooks, Metrics: dialogues, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.lanes.Close(); nc.Close() })
	s.tunnel = New(Options{Sessions: opts.sessions, Gate: new(im.Gate), Lanes: s.lanes, Governor: governor.New(governor.Options{Dialogues: opts.dialogues}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)),
		Log: noLog{}, Fresh: func(<-chan struct{}) bool { return true }, Dialogues: dialogues, Registry: s.registry, Logger: log})
	t.Cleanup(func() { s.tunnel.Close() })
	return s
}

// join puts a session online for a user with one friend.
func (s *stage) join(id, friend string, as *Session) *delivery.Injector {
	return s.lanes.JoinOffline(id, as.member, kv.Roster{Friends: []kv.Friend{{ID: friend}}})
}

func (s *stage) newSession(t testing.TB) *Session {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for b := make([]byte, 64<<10); ; {
			if _, err := peer.Read(b); err != nil {
				return
			}
		}
	}()
	c := newConn(accepted, time.Minute, s.tunnel.opts.Governor)
	t.Cleanup(func() { c.Kill(); <-read; peer.Close() })
	c.held = false
	c.watch.limit, c.watch.quiet = watchLimits(time.Minute)
	return newSession(s.tunnel, c, "", false, false)
}

// send returns a function that has a send a dialogue, and acknowledges it as the friend's lane would.
func (s *stage) send() func() {
	frame := []byte(`{"id":"1","toFriend":"` + s.b.user() + `","payload":"hello"}`)
	nats := s.lanes.Inject(s.a.user())
	return func() {
		s.a.received(frame)
		nats.Acknowledge()
	}
}

// deliver returns a function that delivers two dialogues of its friend to b.
func (s *stage) deliver() func() {
	inject := s.lanes.Inject(s.b.user())
	m := &nats.Msg{Subject: subject.Prefix("im").Dialogue(s.b.user()), Reply: inject.Reply(),
		Data: wire.AppendDialogue(nil, []byte(`"1"`), s.a.user(), []byte(`"hello"`))}
	return func() {
		inject.Handle(m, m) // a single one is acknowledged on its own subject, which is a string
	}
}

// TestDialogueAllocations: neither half of a dialogue's way allocates, from the frame that was read to the message to
// NATS, and from NATS's message to the socket and back.
func TestDialogueAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	s := newStage(t)
	for name, run := range map[string]func(){"send": s.send(), "deliver": s.deliver()} {
		for range 100 { // fills pools
			run()
		}
		if n := testing.AllocsPerRun(1000, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if flights := s.lanes.Inject(s.a.user()).InFlight(); s.a.inFlight != 0 || flights != 0 || s.b.conn.dialogues != 0 {
		t.Errorf("%d frames in flight, %d flights, %d dialogues waiting, want none", s.a.inFlight, flights, s.b.conn.dialogues)
	}
}

func BenchmarkSend(b *testing.B) {
	run := newStage(b).send()
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}

func BenchmarkDeliver(b *testing.B) {
	run := newStage(b).deliver()
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}
