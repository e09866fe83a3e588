package bridge

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"imctl/bridge/limit"
	"imctl/bridge/wire"
	"imctl/kv"
)

// noticeRoom is how many frames beyond dialogues and answers a session may have waiting.
const noticeRoom = 64

// session is one WebSocket of a user. What it is sent waits in its connection, within bounds; what is owed for a
// frame is settled when the frame was written to the socket, or when it never will be.
type session struct {
	id      string
	user    *user
	push    bool // it asked for the frames of the protocol's family
	since   time.Time
	address string // of the client, as limits count it
	bridge  *Bridge
	conn    *tunnelConn
	rate    *limit.Session
	login   []byte // the login's answer, until it is sent
	done    chan struct{}

	lastFriend, lastSubject string // see subjectOf

	mu       sync.Mutex
	room     *sync.Cond      // a place in flight became free, or the session ends
	ms       *melody.Session // nil until the handshake is done
	token    string          // hash of the token that it lives by
	until    time.Time       // so long the token is good
	inFlight int             // frames of this session that are not answered on the socket yet
	closing  bool            // nothing is taken any more; what waits still goes out
	closeMsg []byte          // the close frame that a session ends with which is closed before its handshake is done
	ended    bool
	killer   *time.Timer // ends a closing session whose peer does not read
}

func newSession(b *Bridge, conn *tunnelConn) *session {
	s := &session{id: kv.NewID()[:16], since: time.Now(), bridge: b, conn: conn, done: make(chan struct{})}
	s.room = sync.NewCond(&s.mu)
	conn.settle, conn.ending = s.settle, s.ending
	s.rate = limit.NewSession(b.limits.Load().dialogues, 0)
	return s
}

// deliver sends the frame of a dialogue, or refuses it.
func (s *session) deliver(frame []byte, d *delivery) {
	if err := s.conn.add(frame, outgoing{delivery: d, dialogue: true}, s.bridge.o.Sessions.Buffer); err != nil {
		s.dropped(err)
		d.settle(false)
		return
	}
	s.user.lane.flushSoon(s.conn)
}

// deliverAlone is deliver for the only session that its user has here: it answers NATS itself.
func (s *session) deliverAlone(frame []byte, reply string) {
	if err := s.conn.add(frame, outgoing{reply: reply, dialogue: true}, s.bridge.o.Sessions.Buffer); err != nil {
		s.dropped(err)
		s.user.lane.answer(reply, refused)
		return
	}
	s.user.lane.flushSoon(s.conn)
}

func (s *session) dropped(err error) {
	reason := dropClosed
	if err == errFull {
		reason = dropBufferFull
	}
	s.bridge.metrics.dropped(reason)
}

// most is how many frames of all kinds may wait for a session.
func (s *session) most() int {
	return s.bridge.o.Sessions.Buffer + s.bridge.o.Sessions.InFlight + noticeRoom
}

// answer sends the answer to a frame of this session. The place in flight that it holds bounds how many there can be.
func (s *session) answer(frame []byte) {
	if err := s.conn.add(frame, outgoing{answer: true}, s.most()); err != nil {
		s.settle([]outgoing{{answer: true}}, err)
		return
	}
	s.user.lane.flushSoon(s.conn)
}

// notify sends a frame that nobody waits for. A session with no room for one is too slow to be of use: it ends, and
// learns at its next login what it missed.
func (s *session) notify(frame []byte) {
	switch err := s.conn.add(frame, outgoing{}, s.most()); err {
	case nil:
		s.user.lane.flushSoon(s.conn)
	case errFull:
		s.bridge.metrics.dropped(dropNotice)
		s.conn.Kill()
	}
}

// closeWith sends a last frame, if there is one, then the close frame, behind whatever waits already; a peer that does
// not read is cut off after a while. It may be called more than once: the first call counts.
func (s *session) closeWith(last []byte, code int, reason string) {
	s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.ended {
		return
	}
	s.closing, s.closeMsg = true, melody.FormatCloseMessage(code, reason)
	s.room.Broadcast()
	s.killer = time.AfterFunc(2*linger, s.conn.Kill)
	if len(last) > 0 {
		// Without room for it the peer does not read, and would not see it.
		_ = s.conn.add(last, outgoing{}, s.most())
	}
	s.finish()
}

// leave makes the session accept no more dialogues. From here on its user may be offline. It may be called repeatedly.
func (s *session) leave() {
	s.conn.refuse()
	if s.user != nil {
		s.user.lane.leave(s)
	}
}

// ending is called before the connection writes a close frame, or when it is dead. A dead connection ends the session at
// once: the session's reader may be waiting for the rate limit or for a place in flight, and would not notice.
func (s *session) ending(dead bool) {
	s.leave()
	if dead {
		s.end()
	}
}

// peerCloses answers the peer's close frame, behind the waiting frames. The peer reads no dialogue after its close frame,
// and its user is offline before the peer gets the answer.
func (s *session) peerCloses(code int) {
	s.mu.Lock()
	ours := s.closing // the peer answers the server's close frame and has read everything before it
	s.mu.Unlock()
	if !ours {
		s.conn.deafen()
	}
	s.leave()
	s.control(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
}

// cutOff ends the session of a silent peer. The close frame is for a peer that is only slow.
func (s *session) cutOff() {
	s.conn.deafen()
	s.bridge.metrics.cutOff()
	s.bridge.log.Info("session cut off", "session", s.id, "user", s.user.id, "address", s.address, "reason", silentPeer, "unanswered", s.unanswered())
	s.closeWith(nil, websocket.ClosePolicyViolation, silentPeer)
}

const silentPeer = "no sign of life"

// ping asks the peer for a sign of life.
func (s *session) ping() { s.control(websocket.PingMessage, nil) }

// control writes a control frame at once. It ignores errors: the connection is then closed or closing.
func (s *session) control(kind int, data []byte) {
	s.mu.Lock()
	ms := s.ms
	s.mu.Unlock()
	if ms != nil {
		_ = ms.WebsocketConnection().WriteControl(kind, data, time.Now().Add(s.bridge.o.Sessions.WriteTimeout))
	}
}

// unanswered returns the number of frames that were read from the session and not answered yet.
func (s *session) unanswered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight
}

// finish sends the close frame, once there is a WebSocket to send it on. Called with mu held.
func (s *session) finish() {
	if s.closeMsg != nil && s.ms != nil {
		// An error means that it is closed already.
		_ = s.ms.CloseWithMsg(s.closeMsg)
		s.closeMsg = nil
	}
}

func (s *session) tokenHash() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// livingBy returns the hash of the token that the session lives by, and until when that is good if nobody revokes it.
func (s *session) livingBy() (token string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.until
}

// livesBy binds the session to a token, by its hash, which is good until then. It reports false when the session is to
// end already.
func (s *session) livesBy(token string, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.until = token, until
	return !s.closing && !s.ended
}

// start lets the session speak: the login's answer first, then what was delivered meanwhile.
func (s *session) start(ms *melody.Session, login []byte) {
	s.conn.first(login)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ms = ms
	s.finish()
}

// acquire takes a place in flight for a frame that was read, waiting for one if it must; that wait is the
// backpressure on a client that sends faster than its friends read. It reports false when the session has ended.
func (s *session) acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inFlight >= s.bridge.o.Sessions.InFlight && !s.closing && !s.ended {
		s.room.Wait()
	}
	if s.closing || s.ended {
		return false
	}
	s.inFlight++
	return true
}

// settle is told what became of frames that something is owed for.
func (s *session) settle(owed []outgoing, err error) {
	answers := 0
	for _, o := range owed {
		if o.answer {
			answers++
		}
		if o.dialogue && err != nil {
			s.bridge.metrics.dropped(dropClosed)
		}
		switch {
		case o.delivery != nil:
			o.delivery.settle(err == nil)
		case o.dialogue && err == nil:
			s.user.lane.taken(o.reply)
		case o.dialogue:
			s.user.lane.answer(o.reply, refused)
		}
	}
	if s.user != nil {
		s.user.lane.sent(s.user.lane.takings.flush())
	}
	if answers > 0 {
		if err != nil {
			s.bridge.metrics.unanswered(answers)
		}
		s.mu.Lock()
		s.inFlight -= answers
		s.room.Signal()
		s.mu.Unlock()
	}
}

// end wakes whoever waits for the session. What its connection still owes is settled when that is closed.
func (s *session) end() {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	if s.killer != nil {
		s.killer.Stop()
	}
	s.room.Broadcast()
	s.mu.Unlock()
	if !ended {
		close(s.done)
	}
}

// refuse answers a frame with a code, echoing the dialogue's id where it is known.
func (s *session) refuse(code wire.Code, id []byte) {
	s.bridge.metrics.dialogue(code)
	s.answer(wire.AppendReply(nil, code, id))
}

// answered is what the flight of one of this session's dialogues came to.
func (s *session) answered(f *flight, code wire.Code, took time.Duration) {
	s.bridge.metrics.dialogue(code)
	s.bridge.metrics.dialogueTook(took)
	var room [128]byte // most fit, and need no memory of their own
	s.answer(wire.AppendReply(room[:0], code, f.id))
	if code == wire.Success {
		s.echo(f)
	}
}
