package bridge

import (
	"sync"
	"time"

	"github.com/olahol/melody"

	"imctl/bridge/limit"
	"imctl/bridge/wire"
	"imctl/kv"
)

// feedAhead is how many frames of a session melody may hold at once; the rest wait in the session's own queue, which
// is empty most of the time and costs nothing then. melody drops silently what does not fit into its buffer, so it is
// never handed more than it has room for: its buffer is this and one for a close frame.
const feedAhead = 31

// noticeRoom is how many frames beyond dialogues and answers a session may have waiting.
const noticeRoom = 64

// outgoing is one frame on its way to the socket, and what is owed once it is there.
type outgoing struct {
	frame    []byte
	delivery *delivery // the dialogue that this frame delivers here
	answer   bool      // the answer to a frame of this session: its place in flight becomes free
}

// session is one WebSocket of a user. The frames it is sent go through a queue of bounded length; what is owed for a
// frame is settled when the frame was written to the socket, or when it never will be.
type session struct {
	id      string
	user    *user
	push    bool // it asked for the frames of the protocol's family
	since   time.Time
	address string // of the client, as limits count it
	token   string // hash of the token that it lives by
	bridge  *Bridge
	conn    *tunnelConn
	rate    *limit.Session
	login   []byte // the login's answer, until it is sent

	mu        sync.Mutex
	room      *sync.Cond      // a place in flight became free, or the session ended
	ms        *melody.Session // nil until the handshake is done
	queue     []outgoing      // not yet written by melody's pump, oldest first
	fed       int             // how many of the queue melody has
	written   []outgoing      // written by the pump, not yet flushed
	dialogues int             // dialogues in queue
	inFlight  int             // frames of this session that are not answered on the socket yet
	closing   bool            // nothing is taken any more; what is queued still goes out
	closeMsg  []byte          // the close frame that ends a closing session
	ended     bool
	killer    *time.Timer // ends a closing session whose peer does not read
	done      chan struct{}
}

func newSession(b *Bridge, conn *tunnelConn) *session {
	s := &session{id: kv.NewID()[:16], since: time.Now(), bridge: b, conn: conn, done: make(chan struct{})}
	s.room = sync.NewCond(&s.mu)
	s.rate = limit.NewSession(b.limits.Load().dialogues, 0)
	return s
}

// deliver queues the frame of a dialogue, or refuses it.
func (s *session) deliver(frame []byte, d *delivery) {
	s.mu.Lock()
	if s.closing || s.ended || s.dialogues >= s.bridge.o.Sessions.Buffer {
		reason := dropBufferFull
		if s.closing || s.ended {
			reason = dropClosed
		}
		s.mu.Unlock()
		s.bridge.metrics.dropped(reason)
		d.settle(false)
		return
	}
	s.dialogues++
	s.push1(outgoing{frame: frame, delivery: d})
	s.mu.Unlock()
}

// answer queues the answer to a frame of this session. The place in flight that it holds bounds how many there can be.
func (s *session) answer(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		s.inFlight--
		return
	}
	s.push1(outgoing{frame: frame, answer: true})
}

// notify queues a frame that nobody waits for. A session with no room for one is too slow to be of use: it ends, and
// learns at its next login what it missed.
func (s *session) notify(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.ended {
		return
	}
	if len(s.queue) >= s.bridge.o.Sessions.Buffer+s.bridge.o.Sessions.InFlight+noticeRoom {
		s.bridge.metrics.dropped(dropNotice)
		s.conn.Kill()
		return
	}
	s.push1(outgoing{frame: frame})
}

// closeWith sends a last frame, if there is one, then the close frame, behind whatever waits already; a peer that does
// not read is cut off after a while. It may be called more than once: the first call counts.
func (s *session) closeWith(last []byte, code int, reason string) {
	if s.user != nil {
		s.user.lane.leave(s) // from here on it takes no dialogues: its user may be offline
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.ended {
		return
	}
	s.closing, s.closeMsg = true, melody.FormatCloseMessage(code, reason)
	s.room.Broadcast()
	s.killer = time.AfterFunc(2*linger, s.conn.Kill)
	if len(last) > 0 {
		s.push1(outgoing{frame: last})
	}
	s.closeWhenEmpty()
}

func (s *session) tokenHash() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// livesBy binds the session to a token, by its hash. It reports false when the session is to end already.
func (s *session) livesBy(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	return !s.closing && !s.ended
}

// start hands the session its WebSocket. The login's answer goes first, before whatever was delivered meanwhile.
func (s *session) start(ms *melody.Session, login []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ms = ms
	s.queue = append([]outgoing{{frame: login}}, s.queue...)
	s.feed()
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

// push1 appends to the queue. Called with mu held.
func (s *session) push1(o outgoing) {
	s.queue = append(s.queue, o)
	s.feed()
}

// feed hands melody as many frames as it has room for. Called with mu held.
func (s *session) feed() {
	if s.ms == nil {
		return
	}
	for s.fed < feedAhead && s.fed < len(s.queue) {
		s.conn.pumping.Add(1)
		if s.ms.Write(s.queue[s.fed].frame) != nil {
			s.conn.pumping.Add(-1)
			return // closed: end settles what is owed
		}
		s.fed++
	}
}

// sent runs on melody's pump after it wrote the frame at the head of the queue.
func (s *session) sent() {
	s.mu.Lock()
	if len(s.queue) == 0 {
		s.mu.Unlock()
		return
	}
	o := s.queue[0]
	s.queue[0] = outgoing{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	s.fed--
	if o.delivery != nil {
		s.dialogues--
	}
	s.written = append(s.written, o)
	s.feed()
	more := len(s.queue) > 0
	s.mu.Unlock()
	s.conn.pumping.Add(-1)
	if more && !s.conn.Full() {
		return
	}
	if err := s.conn.Flush(); err != nil {
		s.conn.Kill()
		return
	}
	s.flushed()
}

// flushed settles what was owed for the frames that are on the socket now. Only the pump calls it, so written does
// not grow meanwhile.
func (s *session) flushed() {
	s.mu.Lock()
	written := s.written
	s.written = nil
	for _, o := range written {
		if o.answer {
			s.inFlight--
		}
	}
	if len(written) > 0 {
		s.room.Signal()
	}
	s.closeWhenEmpty()
	s.mu.Unlock()
	for _, o := range written {
		if o.delivery != nil {
			o.delivery.settle(true)
		}
	}
}

// closeWhenEmpty ends a closing session once everything before the close frame is out. Called with mu held.
func (s *session) closeWhenEmpty() {
	if s.closing && s.ms != nil && len(s.queue) == 0 && len(s.written) == 0 && s.closeMsg != nil {
		// An error means that it is closed already.
		_ = s.ms.CloseWithMsg(s.closeMsg)
		s.closeMsg = nil
	}
}

// end settles everything that is still owed: whatever did not reach the socket by now never will.
func (s *session) end() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	owed := append(s.written, s.queue...)
	s.written, s.queue, s.fed = nil, nil, 0
	if s.killer != nil {
		s.killer.Stop()
	}
	s.room.Broadcast()
	close(s.done)
	s.mu.Unlock()
	for _, o := range owed {
		if o.delivery != nil {
			s.bridge.metrics.dropped(dropClosed)
			o.delivery.settle(false)
		}
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
	s.answer(wire.AppendReply(make([]byte, 0, 64+len(f.id)), code, f.id))
	if code == wire.Success {
		s.echo(f)
	}
}
