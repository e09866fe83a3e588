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

// This is the only file that imports melody. melody runs the handshake and reads the frames. It does not see the frames that
// the server sends: its own queue silently drops frames that do not fit, and does not tell when a frame is on the
// socket.

// Buffers of a WebSocket, in bytes. The one for reading is for the headers of frames: conn has read the rest.
const (
	readBuffer  = 128
	writeBuffer = 2 << 10
)

// melodyServer runs the WebSockets of sessions. It sees only logins that succeeded.
type melodyServer struct{ m *melody.Melody }

func newMelody(t *Tunnel) *melodyServer {
	m := melody.New()
	opts := t.opts.Sessions
	m.Config.MaxMessageSize = opts.MaxFrame
	m.Config.MessageBufferSize = 1 // for noWriter
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
		noWriter(ms)
		s.start(socket{ms.WebsocketConnection()})
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
	m.HandleError(func(ms *melody.Session, err error) {
		if !errors.Is(err, errOversized) {
			sessionOf(ms).failed(err)
		}
	})
	return &melodyServer{m}
}

// pongWait is how long a session may be silent.
func pongWait(opts SessionOptions) time.Duration { return opts.Ping + opts.Ping/9 }

// serve runs a session's WebSocket until it ends.
func (m *melodyServer) serve(s *Session, handshake *http.Request) error {
	return m.m.HandleRequest(newHijacked(s.conn), handshake)
}

func (m *melodyServer) close() error { return m.m.Close() }

// sessionOf returns the session of a WebSocket. Keys of melody would cost each session a map.
func sessionOf(ms *melody.Session) *Session {
	return ms.WebsocketConnection().NetConn().(*conn).owner.(*Session)
}

// oversized is a close frame that gorilla/websocket refuses to write, with errOversized. The connection goes on.
var (
	oversized    = make([]byte, 126)
	errOversized = new(websocket.Conn).WriteControl(websocket.CloseMessage, oversized, time.Time{})
)

// noWriter ends the goroutine that melody starts for writing, which holds a stack, a ticker and channels as long as the
// session. Session.ping and socket.close do what it is for. The goroutine ends after a frame that it cannot write. It
// then closes the connection: conn.Close does nothing.
func noWriter(ms *melody.Session) { _ = ms.CloseWithMsg(oversized) }

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
		// The reader is about to close the connection, and may be faster than the goroutine of socket.close.
		s.control(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, reasonSilent))
	case errors.Is(err, websocket.ErrReadLimit):
		// gorilla/websocket has sent the close frame.
		s.tunnel.opts.Dialogues.Answered(wire.ProtocolError)
	case errors.Is(err, websocket.ErrCloseSent), errors.Is(err, melody.ErrWriteClosed):
		// The session is closing already.
	default:
		// The connection ended without a close frame.
		s.conn.discard()
		s.leave()
	}
}

// socket is the WebSocket of a session. The zero value is the state before the handshake is done.
type socket struct{ ws *websocket.Conn }

func (w socket) open() bool { return w.ws != nil }

// close sends a close frame and closes the connection, on a goroutine.
func (w socket) close(s *Session, frame []byte) {
	go func() {
		defer s.guard("end")
		w.control(websocket.CloseMessage, frame, s.tunnel.opts.Sessions.WriteTimeout)
		s.conn.shut()
	}()
}

// control writes a control frame at once. It ignores errors: the connection is then closed or closing.
func (w socket) control(kind int, data []byte, timeout time.Duration) {
	_ = w.ws.WriteControl(kind, data, time.Now().Add(timeout))
}
