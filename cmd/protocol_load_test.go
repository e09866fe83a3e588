package cmd

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// pour sends n dialogues without waiting for answers, and returns the code of each. Their ids are numbers.
// It fails the test unless each dialogue is answered once, with its id.
func (p *member) pour(t testing.TB, to *member, n int, payload string) map[int]int {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < n && err == nil; i++ {
			err = p.tunnel.trySend(dialogue(fmt.Sprintf(`"%d"`, i), to.id, payload))
		}
		sent <- err
	}()
	codes := make(map[int]int, n)
	for len(codes) < n {
		frame, err := p.tunnel.tryNext()
		if err != nil {
			t.Fatalf("after %d answers of %d: %v", len(codes), n, err)
		}
		var a struct {
			Code int
			ID   int `json:",string"`
		}
		if err := json.Unmarshal([]byte(frame), &a); err != nil || frame != replyFrame(fmt.Sprintf(`"%d"`, a.ID), a.Code) || codes[a.ID] != 0 {
			t.Fatalf("answer %s, %v, after %d", frame, err, codes[a.ID])
		}
		codes[a.ID] = a.Code
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return codes
}

// count returns how often each code occurs.
func count(codes map[int]int) map[int]int {
	n := make(map[int]int)
	for _, c := range codes {
		n[c]++
	}
	return n
}

// testFiveHundred checks that dialogues that are sent without waiting for answers arrive once and in order, and are
// answered 200, with the default buffers.
func testFiveHundred(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	const n = 500
	for _, ends := range [][2]*member{{a, b}, {b, a}} {
		from, to := ends[0], ends[1]
		read := make(chan error, 1)
		go func() {
			for i := range n {
				if got, err := to.tunnel.tryNext(); err != nil || got != dialogueFrame(fmt.Sprintf(`"%d"`, i), from.id, `"hello"`) {
					read <- fmt.Errorf("dialogue %d: %s, %w", i, got, err)
					return
				}
			}
			read <- nil
		}()
		if got := count(from.pour(t, to, n, `"hello"`)); got[200] != n {
			t.Errorf("of %d dialogues: %v", n, got)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	}
}

// TestBothWays checks that two users who send to each other without waiting do not block each other.
func TestBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a, b := w.newFriends(t)
	const n = 300
	var wg sync.WaitGroup
	for _, ends := range [][2]*member{{a, b}, {b, a}} {
		from, to := ends[0], ends[1]
		wg.Go(func() {
			for i := range n {
				if err := from.tunnel.trySend(dialogue(fmt.Sprintf(`"%d"`, i), to.id, `"p"`)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			var dialogues, answers int
			for dialogues+answers < 2*n {
				got, err := from.tunnel.tryNext()
				switch {
				case got == dialogueFrame(fmt.Sprintf(`"%d"`, dialogues), to.id, `"p"`):
					dialogues++
				case got == replyFrame(fmt.Sprintf(`"%d"`, answers), 200):
					answers++
				default:
					t.Errorf("after %d dialogues and %d answers: %s, %v", dialogues, answers, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestUnreadAnswers checks that the server stops reading from a client that does not read its answers, and that no
// dialogue or answer is lost once it reads again.
func TestUnreadAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Sessions.InFlight = 4; c.Dialogues.Timeout = 2 * waitTimeout }))
	a, b := w.newFriends(t)
	const n = 200
	go func() {
		for {
			if _, err := b.tunnel.tryNext(); err != nil {
				return
			}
		}
	}()
	for i := range n {
		a.tunnel.send(t, dialogue(fmt.Sprintf(`"%d"`, i), b.id, `"p"`))
	}
	for i := range n {
		a.tunnel.want(t, replyFrame(fmt.Sprintf(`"%d"`, i), 200))
	}
	b.tunnel.ws.Close()
}

// reluctant opens a tunnel with a small receive buffer.
func (p *member) reluctant(t testing.TB) *tunnel {
	t.Helper()
	d := p.w.dialer()
	d.NetDial = func(network, addr string) (net.Conn, error) {
		c, err := net.DialTimeout(network, addr, waitTimeout)
		if tcp, ok := c.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(128 << 10)
		}
		return c, err
	}
	c, err := p.w.tryDial(t.Context(), d, p.n, "/im/login?"+query("account", p.account, "password", p.password), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.ws.Close() })
	if got := (reply{body: c.next(t)}).code(); got != 200 {
		t.Fatalf("login: %d", got)
	}
	return c
}

// stalled calls work with a sender and a friend who does not read, while two other users send dialogues.
// All dialogues of these two users must arrive without delay.
func stalled(t *testing.T, w *world, work func(a, b *member)) {
	t.Helper()
	a, b := w.newFriends(t)
	b.tunnel.close(t)
	eventually(t, "508", func() bool { return a.talk(t, b, "x") == 508 })
	b.tunnel = b.reluctant(t)
	c, d := w.newFriends(t)
	stop, others := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { others <- n }()
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			started := time.Now()
			id := fmt.Sprintf(`"%d"`, n)
			err := c.tunnel.trySend(dialogue(id, d.id, `"hello"`))
			got, errC := d.tunnel.tryNext()
			answer, errD := c.tunnel.tryNext()
			if err != nil || errC != nil || errD != nil || got != dialogueFrame(id, c.id, `"hello"`) || answer != replyFrame(id, 200) {
				t.Errorf("the others: %s, %s, %v, %v, %v", got, answer, err, errC, errD)
				return
			}
			if took := time.Since(started); took > 2*time.Second {
				t.Errorf("a dialogue of the other users took %v", took)
			}
		}
	}()
	defer func() {
		close(stop)
		if n := <-others; n < 5 {
			t.Errorf("the other users sent only %d dialogues", n)
		}
	}()
	work(a, b)
}

const bulk = 32 << 10

// TestStoppedReader checks that a dialogue is not answered 200 before it is written to the socket. When the client
// reads again, it gets every dialogue that was answered 200, in order.
func TestStoppedReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) {
		c.Dialogues.Timeout, c.Sessions.WriteTimeout = 1500*time.Millisecond, 2*waitTimeout
	}))
	stalled(t, w, func(a, b *member) {
		codes := a.pour(t, b, 500, `"`+strings.Repeat("x", bulk)+`"`)
		n := count(codes)
		if n[200]+n[507] != 500 || n[507] < 64 || n[200] == 0 {
			t.Errorf("unexpected answers: %v", n)
		}
		missing := n[200]
		for last := -1; missing > 0; {
			var d struct {
				ID   int `json:",string"`
				From string
			}
			if err := json.Unmarshal([]byte(b.tunnel.next(t)), &d); err != nil || d.From != a.id || d.ID <= last {
				t.Fatalf("dialogue %d after %d, %v", d.ID, last, err)
			}
			last = d.ID
			if codes[d.ID] == 200 {
				missing--
			}
		}
	})
}

// TestStuckReader checks that a client that does not read is disconnected when its socket accepts no data, or when it
// sends no pong, for too long. Waiting dialogues are answered 507, and then the user is offline.
func TestStuckReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) {
		c.Dialogues.Timeout, c.Sessions.WriteTimeout = 2*waitTimeout, 3*time.Second
	}))
	stalled(t, w, func(a, b *member) {
		n := count(a.pour(t, b, 500, `"`+strings.Repeat("x", bulk)+`"`))
		// On a slow machine the session may end before its socket is full. Then no dialogue waits, and there is no 507.
		if n[200]+n[507]+n[508] != 500 || n[507]+n[508] == 0 {
			t.Errorf("unexpected answers: %v", n)
		}
		eventually(t, "508", func() bool { return a.talk(t, b, "x") == 508 })
		eventually(t, "the session to end", func() bool {
			_, err := b.tunnel.tryNext()
			return err != nil && !websocket.IsCloseError(err, websocket.CloseNormalClosure)
		})
		b.login(t)
		if code := a.talk(t, b, "x"); code != 200 {
			t.Errorf("dialogue after the second login: got code %d, want 200", code)
		}
	})
}
