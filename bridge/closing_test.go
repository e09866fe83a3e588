package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

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
		"shutdown":          {func(c *client) error { c.s.closeWith(nil, websocket.CloseGoingAway, goingDown); return nil }, websocket.CloseGoingAway},
		"replaced": {func(c *client) error {
			c.s.closeWith(wire.AppendReply(nil, wire.LoginElsewhere, nil), websocket.ClosePolicyViolation, "login in other place")
			return nil
		}, websocket.ClosePolicyViolation},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := connect(t, emptyStage(t, byDefault()))
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
				if late.taken.Load() || after.taken.Load() {
					t.Errorf("taken: behind the close frame %t, after it %t", late.taken.Load(), after.taken.Load())
				}
				if row.code == websocket.CloseNormalClosure {
					if before.taken.Load() {
						t.Error("a client that had closed before it read the dialogue has taken it")
					}
				} else if row.code != websocket.CloseProtocolError && !before.taken.Load() {
					t.Error("a dialogue that the client read before the close frame is not taken")
				}
			})
		})
	}
}

// TestDeadConnectionLeaves: a session whose socket fails leaves at once, even if its reader waits for the rate limit.
func TestDeadConnectionLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := byDefault()
		o.Limits.Dialogues.Events, o.Limits.Dialogues.Per = 1, time.Hour
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
			if time.Since(began) > 2*o.Sessions.WriteTimeout {
				t.Fatalf("online %v after a write that fails after %v", time.Since(began), o.Sessions.WriteTimeout)
			}
		}
		c.stage.bridge.wg.Wait()
		if took := time.Since(began); took > 2*o.Sessions.WriteTimeout || d.taken.Load() {
			t.Errorf("it ended after %v, and took the dialogue: %t", took, d.taken.Load())
		}
	})
}

// TestGone: a dialogue that only nodes refuse on which the friend has left finds the friend offline. One session that is
// there and does not take it makes it 507, and one that takes it 200.
func TestGone(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		answers []string
		want    wire.Code
	}{
		"left":               {[]string{string(gone)}, wire.PeerOffline},
		"left everywhere":    {[]string{string(gone), string(gone)}, wire.PeerOffline},
		"left, and refused":  {[]string{string(gone), string(refused)}, wire.SendFailed},
		"refused, and left":  {[]string{string(refused), string(gone)}, wire.SendFailed},
		"left, and taken":    {[]string{string(gone), ""}, wire.Success},
		"a client's refusal": {[]string{`{"code":508}`}, wire.SendFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := member(t, "")
			f, o := testFlights(t, nc, true)
			if _, err := nc.Subscribe("friend", func(m *nats.Msg) {
				for _, a := range row.answers {
					if err := m.Respond([]byte(a)); err != nil {
						t.Error(err)
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			f.mustSend(t, "1", o)
			o.want(t, "1 "+row.want.Message())
		})
	}
}

// TestNothingBehindACloseFrame: a dialogue is refused as soon as a close frame waits in the connection, written or not.
func TestNothingBehindACloseFrame(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	frame := wire.AppendDialogue(nil, []byte(`"1"`), s.a.user.id, []byte(`"hello"`))
	for i, want := range []bool{true, false} {
		d := &delivery{lane: s.lane, reply: "reply"}
		d.left.Store(1)
		s.b.deliver(frame, d)
		if d.taken.Load() != want {
			t.Errorf("dialogue %d was taken: %t", i, !want)
		}
		if _, err := s.b.conn.Write([]byte{opClosing, 0}); err != nil {
			t.Fatal(err)
		}
	}
	if s.lane.user(s.b.user.id) != nil {
		t.Error("online behind its close frame")
	}
}
