package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/delivery"
	"imctl/bridge/governor"
	"imctl/bridge/wire"
	"imctl/kv"
)

// defaults returns the options of config.yaml that set the time limits of these tests.
func defaults() stageOptions {
	return stageOptions{sessions: SessionOptions{Buffer: 64, InFlight: 64, MaxFrame: 4 << 10, Ping: 54 * time.Second, WriteTimeout: 10 * time.Second},
		timeout: 5 * time.Second, dialogues: governor.Rate{Events: 50, Per: time.Second}}
}

// endpoint is a client's end of an in-memory connection that accepts all writes, as the system's buffers would.
type endpoint struct {
	net.Conn
	mu      sync.Mutex // guards the fields below
	more    *sync.Cond
	waiting []byte
	closed  bool
}

func newEndpoint(c net.Conn) *endpoint {
	s := &endpoint{Conn: c}
	s.more = sync.NewCond(&s.mu)
	go s.pass()
	return s
}

func (s *endpoint) pass() {
	for {
		s.mu.Lock()
		for len(s.waiting) == 0 && !s.closed {
			s.more.Wait()
		}
		b := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		if len(b) == 0 {
			return
		}
		if _, err := s.Conn.Write(b); err != nil {
			return
		}
	}
}

func (s *endpoint) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, p...)
	s.more.Signal()
	return len(p), nil
}

// SetWriteDeadline does nothing: writes do not wait.
func (s *endpoint) SetWriteDeadline(time.Time) error { return nil }

func (s *endpoint) Close() error {
	s.mu.Lock()
	s.closed = true
	s.more.Signal()
	s.mu.Unlock()
	return s.Conn.Close()
}

// client is a session of a stage, with the frames that its client sees.
type client struct {
	stage  *stage
	s      *Session
	inject *delivery.Injector
	ws     *websocket.Conn
	friend string

	mu     sync.Mutex // guards the fields below
	pings  []time.Time
	frames int
	closed error         // how the client's reads ended
	over   chan struct{} // closed when they have
}

// connect opens a tunnel in memory. Its client reads once read is called.
func connect(t *testing.T, st *stage) *client {
	t.Helper()
	return connectWith(t, st, &welcome{whole: []byte(`{"code":200}`)})
}

// connectWith is connect with another answer to the login.
func connectWith(t *testing.T, st *stage, answer *welcome) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	c := &client{stage: st, friend: kv.NewID(), over: make(chan struct{})}
	conn := newConn(ours, st.tunnel.opts.Sessions.WriteTimeout, st.tunnel.opts.Governor)
	c.s = newSession(st.tunnel, conn, "", false, false)
	c.inject = st.join(kv.NewID(), c.friend, c.s)
	st.tunnel.conns.Go(func() {
		r, err := http.ReadRequest(bufio.NewReader(ours))
		if err != nil {
			t.Error(err)
			return
		}
		st.tunnel.conns.Add(1) // run calls Done
		st.tunnel.run(c.s, slimRequest(r), answer)
	})
	d := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return newEndpoint(theirs), nil }}
	var err error
	if c.ws, _, err = d.Dial("ws://im.example.org/im/login", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.ws.Close(); st.tunnel.conns.Wait() })
	return c
}

// read makes the client read until the connection ends, and answer pings or not.
func (c *client) read(answer bool) {
	pong := c.ws.PingHandler()
	c.ws.SetPingHandler(func(s string) error {
		c.mu.Lock()
		c.pings = append(c.pings, time.Now())
		c.mu.Unlock()
		if answer {
			return pong(s)
		}
		return nil
	})
	go func() {
		defer close(c.over)
		for {
			_, _, err := c.ws.ReadMessage()
			c.mu.Lock()
			if err != nil {
				c.closed = err
				c.mu.Unlock()
				return
			}
			c.frames++
			c.mu.Unlock()
		}
	}()
}

func (c *client) saw() (pings []time.Time, frames int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pings, c.frames
}

// wantClose waits until the client's reads have ended, by a close frame.
func (c *client) wantClose(t *testing.T, code int) {
	t.Helper()
	<-c.over
	var closed *websocket.CloseError
	if !errors.As(c.closed, &closed) || closed.Code != code {
		t.Errorf("the client saw %v, want a close frame with %d", c.closed, code)
	}
}

// online reports whether the session's user is online.
func (c *client) online() bool { return c.stage.lanes.User(c.s.user()) != nil }

// deliver hands the session a dialogue, and returns a function that reports whether it was delivered.
func (c *client) deliver() (delivered func() bool) {
	r, delivered := c.inject.Receipt()
	if err := c.s.Deliver(wire.AppendDialogue(nil, []byte(`"1"`), c.friend, []byte(`"hello"`)), r); err != nil {
		r.Settle(false)
	} else {
		c.s.member.FlushSoon()
	}
	return delivered
}

// counted reads a counter.
func (s *stage) counted(t *testing.T, name string) float64 {
	t.Helper()
	all, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Errorf("there is no %s", name)
	return 0
}

// TestBusyIsNotSilent: a client that answers pings stays connected, however long its pongs wait behind frames that the
// server is not ready to read. Its friend's side never answers, so its places in flight are taken all the time.
func TestBusyIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, emptyStage(t, defaults()))
		c.read(true)
		const n = 5000
		began := time.Now()
		for i := range n {
			if err := c.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":"%d","toFriend":"%s","payload":"p"}`, i, c.friend)); err != nil {
				t.Fatal(err)
			}
		}
		for _, frames := c.saw(); frames < 1+n; _, frames = c.saw() {
			select {
			case <-c.over:
				t.Fatalf("closed after %v and %d answers of %d: %v", time.Since(began), frames-1, n, c.closed)
			case <-time.After(time.Second):
			}
		}
		if took := time.Since(began); took < 2*time.Minute {
			t.Errorf("it took %v, which is no test of pongs that wait", took)
		}
		if !c.online() {
			t.Error("offline at the end")
		}
	})
}

// TestSilentIsCutOff: a client that stays silent after a ping gets a close frame. The session is counted, and so are
// its unanswered frames.
func TestSilentIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults()
		o.timeout = time.Hour
		c := connect(t, emptyStage(t, o))
		c.read(false)
		if err := c.ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":"1","toFriend":"%s","payload":"p"}`, c.friend)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c.wantClose(t, websocket.ClosePolicyViolation)
		if took := time.Since(began); took < o.sessions.Ping || took > o.sessions.Ping+o.sessions.Ping/9+time.Second {
			t.Errorf("closed after %v", took)
		}
		if c.online() {
			t.Error("it is still online")
		}
		c.ws.Close()
		c.stage.tunnel.conns.Wait()
		c.stage.lanes.Abort(nil)
		for _, name := range []string{"imctl_sessions_cut_off_total", "imctl_dialogues_unanswered_total"} {
			if n := c.stage.counted(t, name); n != 1 {
				t.Errorf("%s is %v", name, n)
			}
		}
	})
}

// TestDialogueAsksForLife: a session whose client shows no sign of life accepts dialogues for less than the write
// timeout, however long the client was silent before the first dialogue.
func TestDialogueAsksForLife(t *testing.T) {
	for _, before := range []time.Duration{0, time.Second, 4 * time.Second, 20 * time.Second, 50 * time.Second} {
		for _, every := range []time.Duration{100 * time.Millisecond, time.Second, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				o := defaults()
				c := connect(t, emptyStage(t, o))
				c.read(false)
				synctest.Wait()
				time.Sleep(before)
				first := time.Now()
				for time.Since(first) < o.sessions.WriteTimeout {
					if d := c.deliver(); time.Since(first) == 0 {
						synctest.Wait()
						if !d() {
							t.Error("the first dialogue was not taken")
						}
						if pings, _ := c.saw(); len(pings) == 0 && before >= quietMost {
							t.Errorf("silent for %v and not asked at once", before)
						}
					}
					time.Sleep(min(every, o.sessions.WriteTimeout-time.Since(first)))
				}
				synctest.Wait()
				if c.online() {
					t.Errorf("silent for %v, then a dialogue each %v: still online after %v", before, every, time.Since(first))
				}
				d := c.deliver()
				synctest.Wait()
				if d() {
					t.Error("a dialogue was taken after that")
				}
				c.wantClose(t, websocket.ClosePolicyViolation)
			})
		}
	}
}

// TestSignsOfLife: a client that answers pings or sends other frames keeps its session, and so does a client whose
// frames the server does not read.
func TestSignsOfLife(t *testing.T) {
	const seconds = 170
	empty := func(c *client, _ int) error { return c.ws.WriteMessage(websocket.TextMessage, []byte(`{}`)) }
	long := append([]byte{0x81, 0x80 | 126, 0xf, 0xff}, make([]byte, seconds)...) // the beginning of a frame of 4095 bytes
	for name, life := range map[string]struct {
		pongs bool
		rate  governor.Rate
		sign  func(c *client, second int) error
	}{
		"pongs":      {pongs: true},
		"held back":  {pongs: true, rate: governor.Rate{Events: 1, Per: 3 * time.Minute}, sign: empty},
		"frames":     {sign: empty},
		"half frame": {sign: func(c *client, i int) error { _, err := c.ws.NetConn().Write(long[i : i+1]); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := defaults()
				o.dialogues = life.rate
				c := connect(t, emptyStage(t, o))
				c.read(life.pongs)
				for i := range seconds {
					if life.sign != nil {
						if err := life.sign(c, i); err != nil {
							t.Fatal(err)
						}
					}
					d := c.deliver()
					time.Sleep(time.Second)
					if !d() || !c.online() {
						t.Fatalf("after %d s: taken: %t, online: %t", i, d(), c.online())
					}
				}
				if pings, _ := c.saw(); name != "pongs" && len(pings) > 4 {
					t.Errorf("%d pings to a client that is heard all the time", len(pings))
				}
			})
		})
	}
}

// TestWatchEnds: a dialogue whose peer answers leaves no timer behind.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, emptyStage(t, defaults()))
		c.read(true)
		time.Sleep(10 * time.Second)
		c.deliver()
		time.Sleep(20 * time.Second)
		c.s.conn.mu.Lock()
		defer c.s.conn.mu.Unlock()
		if c.s.conn.watch.since != 0 || c.s.conn.watch.timer.Stop() {
			t.Error("still watching")
		}
		if pings, _ := c.saw(); len(pings) != 1 {
			t.Errorf("%d pings", len(pings))
		}
	})
}
