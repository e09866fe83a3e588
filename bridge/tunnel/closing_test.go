package tunnel

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/governor"
	"imctl/bridge/wire"
)

// TestClosingTakesNothing: however a session ends, its user is offline before the client gets the close frame, and a
// dialogue on its way to the session is not accepted.
func TestClosingTakesNothing(t *testing.T) {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	text := func(n int) func(*client) error {
		return func(c *client) error { return c.ws.WriteMessage(websocket.TextMessage, make([]byte, n)) }
	}
	for name, row := range map[string]struct {
		begin func(*client) error
		code  int
	}{
		"the client closes": {func(c *client) error { return c.ws.WriteControl(websocket.CloseMessage, bye, time.Time{}) }, websocket.CloseNormalClosure},
		"too large":         {text(5 << 10), websocket.CloseMessageTooBig},
		"no frame":          {func(c *client) error { _, err := c.ws.NetConn().Write([]byte{0xff, 0xff, 0, 0}); return err }, websocket.CloseProtocolError},
		"not UTF-8":         {func(c *client) error { return c.ws.WriteMessage(websocket.TextMessage, []byte("{\"id\":\"\xff\"}")) }, websocket.CloseInvalidFramePayloadData},
		"binary":            {func(c *client) error { return c.ws.WriteMessage(websocket.BinaryMessage, nil) }, websocket.CloseUnsupportedData},
		"kicked":            {func(c *client) error { c.s.closeWith(nil, websocket.ClosePolicyViolation, "kicked"); return nil }, websocket.ClosePolicyViolation},
		"shutdown":          {func(c *client) error { c.s.closeWith(nil, websocket.CloseGoingAway, reasonShutdown); return nil }, websocket.CloseGoingAway},
		"replaced": {func(c *client) error {
			c.s.closeWith(wire.AppendReply(nil, wire.LoginElsewhere, nil), websocket.ClosePolicyViolation, "login in other place")
			return nil
		}, websocket.ClosePolicyViolation},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := connect(t, emptyStage(t, defaults()))
				// The client does not read yet: what the server writes waits, the close frame included.
				before := c.deliver()
				synctest.Wait()
				if err := row.begin(c); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if c.online() {
					t.Error("it is online after the closing began")
				}
				late := c.deliver()
				c.read(true)
				c.wantClose(t, row.code)
				after := c.deliver()
				time.Sleep(time.Minute)
				if late() || after() {
					t.Errorf("taken: behind the close frame %t, after it %t", late(), after())
				}
				if row.code == websocket.CloseNormalClosure {
					if before() {
						t.Error("a client that had closed before it read the dialogue has taken it")
					}
				} else if row.code != websocket.CloseProtocolError && !before() {
					t.Error("a dialogue that the client read before the close frame is not taken")
				}
			})
		})
	}
}

// TestDeadConnectionLeaves: a session whose socket fails leaves at once, even if its reader waits for the rate limit.
func TestDeadConnectionLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults()
		o.dialogues = governor.Rate{Events: 1, Per: time.Hour}
		c := connect(t, emptyStage(t, o))
		for range 3 { // the second waits
			if err := c.ws.WriteMessage(websocket.TextMessage, []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		d := c.deliver() // the client does not read
		for c.online() {
			time.Sleep(time.Second)
			if time.Since(began) > 2*o.sessions.WriteTimeout {
				t.Fatalf("online %v after a write that fails after %v", time.Since(began), o.sessions.WriteTimeout)
			}
		}
		c.stage.tunnel.conns.Wait()
		if took := time.Since(began); took > 2*o.sessions.WriteTimeout || d() {
			t.Errorf("it ended after %v, and took the dialogue: %t", took, d())
		}
	})
}

// TestNothingBehindACloseFrame: a dialogue is refused as soon as a close frame waits in the connection, written or not.
func TestNothingBehindACloseFrame(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	inject := s.lanes.Inject(s.b.user())
	frame := wire.AppendDialogue(nil, []byte(`"1"`), s.a.user(), []byte(`"hello"`))
	for i, want := range []bool{true, false} {
		r, delivered := inject.Receipt()
		if err := s.b.Deliver(frame, r); err != nil {
			r.Settle(false)
		} else {
			s.b.member.FlushSoon()
		}
		if delivered() != want {
			t.Errorf("dialogue %d was taken: %t", i, !want)
		}
		if _, err := s.b.conn.Write([]byte{opClosing, 0}); err != nil {
			t.Fatal(err)
		}
	}
	if s.lanes.User(s.b.user()) != nil {
		t.Error("online behind its close frame")
	}
}
