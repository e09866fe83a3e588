package cmd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// testGivesWay checks that a login over sessions.per_user ends the oldest session with 513.
func testGivesWay(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	first := b.tunnel
	second, _ := b.openTunnel(t)
	third, _ := b.openTunnel(t)
	fourth, _ := b.openTunnel(t)
	first.want(t, replyBody(513))
	first.wantClose(t, websocket.ClosePolicyViolation)
	fifth, _ := b.openTunnel(t)
	second.want(t, replyBody(513))
	second.wantClose(t, websocket.ClosePolicyViolation)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue to the remaining sessions: got code %d, want 200", code)
	}
	for _, c := range []*tunnel{third, fourth, fifth} {
		c.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))
	}
	// The token of the ended session stays valid.
	b.call(t, "found", "name", fresh("nobody")).want(t, "call", `{"code":200,"found":null,"message":"Success","ok":true}`)
}

// testBinary checks that a binary frame is answered 509 and ends the tunnel.
func testBinary(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	for _, frame := range []string{dialogue(`"1"`, b.id, `"p"`), "", "\x00\xff"} {
		c, _ := a.openTunnel(t)
		if err := c.ws.WriteMessage(websocket.BinaryMessage, []byte(frame)); err != nil {
			t.Fatal(err)
		}
		c.want(t, replyBody(509))
		c.wantClose(t, websocket.CloseUnsupportedData)
	}
	if code := b.talk(t, a, "1"); code != 200 {
		t.Errorf("dialogue of the other tunnels: got code %d, want 200", code)
	}
}

// testFrames checks frame sizes, fragments and control frames.
func testFrames(t *testing.T, w *world) {
	a, b := w.newFriends(t)
	const limit = 4 << 10 // tableSettings
	filled := func(size int) (frame, payload string) {
		empty := dialogue(`"1"`, b.id, `""`)
		payload = `"` + strings.Repeat("x", size-len(empty)) + `"`
		return dialogue(`"1"`, b.id, payload), payload
	}
	largest, payload := filled(limit)
	a.tunnel.send(t, largest)
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, payload))
	a.tunnel.want(t, replyFrame(`"1"`, 200))

	// A fragmented frame with a ping between the fragments.
	pieces, err := a.tunnel.ws.NextWriter(websocket.TextMessage)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(largest); i += 1000 {
		_, err := pieces.Write([]byte(largest[i:min(i+1000, len(largest))]))
		err = errors.Join(err, a.tunnel.ws.WriteControl(websocket.PingMessage, []byte("here?"), time.Now().Add(waitTimeout)))
		if err != nil {
			t.Fatal(err)
		}
	}
	var pong string
	a.tunnel.ws.SetPongHandler(func(s string) error { pong = s; return nil })
	if err := pieces.Close(); err != nil {
		t.Fatal(err)
	}
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, payload))
	a.tunnel.want(t, replyFrame(`"1"`, 200))
	if pong != "here?" {
		t.Errorf("got pong %q", pong)
	}

	tooLarge, _ := filled(limit + 1)
	a.tunnel.send(t, tooLarge)
	a.tunnel.wantClose(t, websocket.CloseMessageTooBig)
	c, _ := b.openTunnel(t) // it was not delivered
	c.close(t)
	b.tunnel.send(t, `{}`)
	b.tunnel.want(t, replyBody(510))

	// A frame that violates the WebSocket protocol ends the tunnel.
	if _, err := b.tunnel.ws.NetConn().Write([]byte{0xff, 0xff, 0, 0}); err != nil {
		t.Fatal(err)
	}
	b.tunnel.wantClose(t, websocket.CloseProtocolError)
}

// TestPing checks that the server pings silent clients, and disconnects a client that does not answer.
func TestPing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Sessions.Ping = time.Second }))
	a, b := w.newFriends(t)
	pinged := make(chan struct{}, 1)
	answer := b.tunnel.ws.PingHandler()
	b.tunnel.ws.SetPingHandler(func(s string) error {
		select {
		case pinged <- struct{}{}:
		default:
		}
		return answer(s)
	})
	a.tunnel.ws.SetPingHandler(func(string) error { return nil })
	done := make(chan error, 1)
	go func() { _, err := b.tunnel.tryNext(); done <- err }()
	// The silent client is disconnected. The other client can still receive a dialogue.
	if _, err := a.tunnel.tryNext(); err == nil {
		t.Error("got an unexpected frame")
	}
	select {
	case <-pinged:
	case <-time.After(waitTimeout):
		t.Error("no ping")
	}
	a.login(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue of the client that answers pings: got code %d", code)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
