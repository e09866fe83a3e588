package tunnel

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"imctl/bridge/recovery"
	"imctl/bridge/wire"
)

// This is the only file that imports melody. melody reads the frames, pings and closes. It does not see the frames that
// the server sends: its own queue silently drops frames that do not fit, and does not tell when a frame is on the
// socket.

// Buffers of a WebSocket, in bytes. The one for reading is for the headers of frames: conn has read the rest.
const (
	readBuffer  = 256
	writeBuffer = 2 << 10
)

// melodyServer runs the WebSockets of sessions. It sees only logins that succeeded.
type melodyServer struct{ m *melody.Melody }

func newMelody(t *Tunnel) *melodyServer {
	m := melody.New()
	opts := t.opts.Sessions
	m.Config.MaxMessageSize = opts.MaxFrame
	m.Config.MessageBufferSize = 2 // for a close frame: all other frames go through conn
	m.Config.PingPeriod = opts.Ping
	m.Config.PongWait = pongWait(opts)
	m.Config.WriteWait = opts.WriteTimeout
	m.Upgrader.ReadBufferSize, m.Upgrader.WriteBufferSize = readBuffer, writeBuffer
	m.Upgrader.WriteBufferPool = new(sync.Pool)
	m.Upgrader.CheckOrigin = anyOrigin
	m.HandleConnect(func(ms *melody.Session) {
		s := sessionOf(ms)
		defer s.guard("connect")
		ms.Request = nil // melody would keep it for the life of the session
		s.start(socket{ms})
	})
	m.HandleMessage(func(ms *melody.Session, frame []byte) {
		s := sessionOf(ms)
		defer s.guard("message")
		s.received(frame)
	})
	m.HandleMessageBinary(func(ms *melody.Session, _ []byte) {
		s := sessionOf(ms)
		defer s.guard("binary message")
		t.opts.Dialogues.Answered(wire.PayloadNotText)
		s.closeWith(wire.AppendReply(nil, wire.PayloadNotText, nil), websocket.CloseUnsupportedData, "text only")
	})
	m.HandleClose(func(ms *melody.Session, code int, _ string) error {
		s := sessionOf(ms)
		defer s.guard("close")
		s.peerCloses(code)
		return nil
	})
	m.HandleError(func(ms *melody.Session, err error) { sessionOf(ms).failed(err) })
	return &melodyServer{m}
}

// pongWait is how long a session may be silent.
func pongWait(opts SessionOptions) time.Duration { return opts.Ping + opts.Ping/9 }

// serve runs a session's WebSocket until it ends.
func (m *melodyServer) serve(s *Session, handshake *http.Request) error {
	return m.m.HandleRequestWithKeys(newHijacked(s.conn), handshake, map[string]any{sessionKey: s})
}

func (m *melodyServer) close() error { return m.m.Close() }

const sessionKey = "session"

func sessionOf(ms *melody.Session) *Session { return ms.Keys[sessionKey].(*Session) }

// guard, deferred, ends a session whose handler panicked. Without its read loop, melody would keep the session forever.
func (s *Session) guard(where string) {
	if p := recover(); p != nil {
		defer s.conn.Kill()
		defer recovery.Log(s.tunnel.opts.Logger, where+" of a session")
		panic(p)
	}
}

// failed handles an error that melody reports.
func (s *Session) failed(err error) {
	switch {
	case errors.Is(err, errSilent):
		s.cutOff()
		// The reader is about to close the connection, and may be faster than melody's writer.
		s.control(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, reasonSilent))
	case errors.Is(err, websocket.ErrReadLimit):
		// gorilla/websocket has sent the close frame.
		s.tunnel.opts.Dialogues.Answered(wire.ProtocolError)
	case errors.Is(err, melody.ErrMessageBufferFull):
		// melody gets nothing but one close frame. This runs under the session's lock, so it must not do more.
		s.tunnel.opts.Logger.Error("melody's buffer is full", "session", s.id)
		s.conn.Conn.Close()
	case errors.Is(err, websocket.ErrCloseSent), errors.Is(err, melody.ErrWriteClosed):
		// The session is closing already.
	default:
		// The connection ended without a close frame.
		s.conn.discard()
		s.leave()
	}
}

// socket is the WebSocket of a session. The zero value is the state before the handshake is done.
type socket struct{ ms *melody.Session }

func (w socket) open() bool { return w.ms != nil }

// close sends a close frame. An error means that the WebSocket is closed already.
func (w socket) close(frame []byte) { _ = w.ms.CloseWithMsg(frame) }

// control writes a control frame at once. It ignores errors: the connection is then closed or closing.
func (w socket) control(kind int, data []byte, timeout time.Duration) {
	_ = w.ms.WebsocketConnection().WriteControl(kind, data, time.Now().Add(timeout))
}
