package bridge

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/wire"
	"imctl/kv"
)

// sink is a NATS server that takes everything and says nothing. It needs no memory, so that what is counted is ours.
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

// stage is a lane without its goroutines' messages from NATS, and two friends with a session each on real sockets, which
// somebody reads.
type stage struct {
	bridge *Bridge
	lane   *lane
	a, b   *session
}

func newStage(t testing.TB) *stage {
	t.Helper()
	s := emptyStage(t, Options{Sessions: Sessions{Buffer: 1 << 10, InFlight: 1 << 10, WriteTimeout: time.Minute}, Dialogues: Dialogues{Timeout: time.Minute}})
	s.a, s.b = newStageSession(t, s.bridge), newStageSession(t, s.bridge)
	a, b := kv.NewID(), kv.NewID()
	s.join(a, b, s.a)
	s.join(b, a, s.b)
	return s
}

// emptyStage is a stage without sessions.
func emptyStage(t testing.TB, o Options) *stage {
	t.Helper()
	o.Prefix = "im"
	nc, err := nats.Connect("nats://127.0.0.1", nats.SetCustomDialer(sink{}), nats.FlusherTimeout(0))
	if err != nil {
		t.Fatal(err)
	}
	bridge := &Bridge{o: o, log: slog.New(slog.DiscardHandler), metrics: newMetrics(prometheus.NewRegistry()), service: &Service{nc: nc, o: ServiceOptions{Prefix: o.Prefix}, log: slog.New(slog.DiscardHandler), nodes: new(nodes)}}
	bridge.certain.Store(true)
	bridge.service.nodes.alone.Store(true)
	bridge.limits.Store(newLimiters(o.Limits))
	l, err := newLane(nc, bridge)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return &stage{bridge: bridge, lane: l}
}

func (s *stage) join(id, friend string, as *session) {
	u := newUser(id, s.lane)
	u.load(kv.Roster{Friends: []kv.Friend{{ID: friend}}}, 1)
	u.add(as)
	as.user = u
	s.lane.users[id] = u
}

func newStageSession(t testing.TB, bridge *Bridge) *session {
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
	c, err := ln.Accept()
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
	conn := newTunnelConn(c, time.Minute)
	t.Cleanup(func() { conn.Kill(); <-read; peer.Close() })
	conn.held = false
	conn.watch.limit, conn.watch.quiet = watchLimits(time.Minute)
	return newSession(bridge, conn)
}

// send has a send a dialogue, and answers it as the friend's lane would.
func (s *stage) send() func() {
	frame := []byte(`{"id":"1","toFriend":"` + s.b.user.id + `","payload":"hello"}`)
	m := new(nats.Msg)
	f := s.lane.flights
	tokens := make([]byte, 0, tokenSize)
	m.Subject = f.inbox + manyToken
	return func() {
		s.a.received(frame)
		f.mu.Lock()
		for n, slot := range f.slots {
			if slot.flight != nil {
				tokens = f.appendReply(tokens[:0], uint32(n), slot.round)
			}
		}
		f.mu.Unlock()
		m.Data = tokens[len(tokens)-tokenSize:]
		s.lane.handle(m)
	}
}

// deliver hands b a dialogue of its friend's.
func (s *stage) deliver() func() {
	m := &nats.Msg{Subject: s.lane.prefix + s.b.user.id + "." + leafDialogue,
		Reply: "_INBOX.0123456789abcdefghijkl" + laneMark + "0123456789abcdef",
		Data:  wire.AppendDialogue(nil, []byte(`"1"`), s.a.user.id, []byte(`"hello"`))}
	return func() {
		s.lane.begin()
		s.lane.takings.begin()
		for range 2 { // one alone is answered on its own subject, which is a string
			s.lane.handle(m)
		}
		s.lane.end()
		s.lane.sent(s.lane.takings.end())
	}
}

// TestDialogueAllocations: neither half of a dialogue's way needs memory of its own, from the frame that was read to the
// message to NATS, and from NATS's message to the socket and back.
func TestDialogueAllocations(t *testing.T) {
	if raced {
		t.Skip("counted without the race detector only")
	}
	s := newStage(t)
	for name, run := range map[string]func(){"send": s.send(), "deliver": s.deliver()} {
		for range 100 { // pools fill
			run()
		}
		if n := testing.AllocsPerRun(1000, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if s.a.inFlight != 0 || s.lane.flights.active != 0 || s.b.conn.dialogues != 0 {
		t.Errorf("left: %d frames in flight, %d flights, %d dialogues waiting", s.a.inFlight, s.lane.flights.active, s.b.conn.dialogues)
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
