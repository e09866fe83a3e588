package tunnel

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/cluster"
	"imctl/bridge/delivery"
	"imctl/bridge/governor"
	"imctl/bridge/wire"
	"imctl/kv"
)

// noticeRoom is the number of frames, beyond dialogues, answers and notices, that may wait for a session.
const noticeRoom = 64

// Session is one WebSocket of a user. Its frames wait in conn, within bounds. What the session owes for a frame is
// settled when the frame is on the socket, or when it never will be.
type Session struct {
	id      string
	member  *delivery.Member
	push    bool // it wants notices
	keep    bool // it takes part in kept conversations
	pings   bool // it asked to, on a server that keeps none: it may send pings
	since   time.Time
	address string   // of the client, as the limits count it
	opening *opening // nil once the session has started
	tunnel  *Tunnel
	conn    *conn
	rate    *governor.Session
	done    chan struct{}

	controls int       // frames that were not answered; the reader's, as the next two
	typed    string    // the friend whom the last typing notice was for
	typedAt  time.Time // when

	feed feed // of kept dialogues to a session that does not take part

	mu       sync.Mutex // guards the fields below
	room     *sync.Cond // inFlight has decreased, or the session ends
	ws       socket
	token    string    // hash of the token that it lives by
	until    time.Time // expiry of the token
	inFlight int       // frames of this session whose answer is not on the socket yet
	closing  bool      // it accepts nothing more; waiting frames still go out
	closeMsg []byte    // close frame of a session that was closed before its handshake was done
	ended    bool
	lagging  map[string][]byte // the newest kept dialogues that did not fit, by conversation
	ownReads map[string]uint64 // how far the client says it has read, by conversation
	killer   *time.Timer       // cuts a closing session off whose peer does not read
	pinger   *time.Timer       // pings the peer at intervals, once the session has started
}

// opening is what a session needs until it has started.
type opening struct {
	origin   kv.Origin            // of the token that the login issues
	roster   kv.Roster            // of the user at its login
	base     map[string]kv.Cursor // of the user before the session joined: what others get from then on is also for this one
	streamed parts                // the login's answer, if it is too large for the memory; start writes it
}

func newSession(t *Tunnel, c *conn, address string, push, keep bool) *Session {
	s := &Session{id: strings.Clone(kv.NewID()[:16]), since: time.Now(), address: address, tunnel: t, conn: c, opening: new(opening),
		rate: t.opts.Governor.NewSession(), done: make(chan struct{})}
	s.takePart(push, keep)
	s.feed.s = s
	s.room = sync.NewCond(&s.mu)
	c.owner = s
	return s
}

// takePart sets what the session takes part in, before it joins.
func (s *Session) takePart(push, keep bool) {
	keeps := keep && s.tunnel.opts.Lanes.Keeps()
	s.push, s.keep, s.pings = push, keeps, keep && !keeps
	s.member = delivery.NewMember(s, push, keeps)
}

// user returns the id of the session's user. It is valid after the session has joined.
func (s *Session) user() string { return s.member.User().ID() }

func (s *Session) info() cluster.Session {
	token, _ := s.boundToken()
	return cluster.Session{ID: s.id, User: s.user(), Node: s.tunnel.opts.Node, Since: s.since, Address: s.address, Push: s.push, Token: token}
}

// Deliver implements delivery.Sink.
func (s *Session) Deliver(frame []byte, r delivery.Receipt) error {
	err := s.conn.add(frame, outgoing{receipt: r, dialogue: true}, s.tunnel.opts.Sessions.Buffer)
	switch err {
	case nil:
	case errFull:
		s.tunnel.opts.Dialogues.Dropped(delivery.DropBufferFull)
	case errBytes:
		s.tunnel.opts.Governor.NoteSlow(s.user())
		s.tunnel.opts.Dialogues.Dropped(delivery.DropBufferFull)
	default:
		s.tunnel.opts.Dialogues.Dropped(delivery.DropClosed)
	}
	return err
}

// DeliverLive implements delivery.Sink.
func (s *Session) DeliverLive(from string, frame []byte, r delivery.Receipt) error {
	passes, overtakes := s.feed.overtake(from)
	if !passes {
		s.tunnel.opts.Dialogues.Dropped(delivery.DropBufferFull)
		return errBehind
	}
	if overtakes {
		s.member.RefuseAwaited(from)
	}
	return s.Deliver(frame, r)
}

// errBehind: earlier dialogues of the friend are still to be read from the store.
var errBehind = errors.New("earlier dialogues are not written yet")

// maxFrames is the number of frames of all kinds that may wait for the session.
func (s *Session) maxFrames() int {
	return s.tunnel.opts.Sessions.Buffer + s.tunnel.opts.Sessions.InFlight + noticeRoom
}

// Notify implements delivery.Sink. A slow session may miss a notice, and is sent the current state later. Other frames,
// which are dialogues from another session of the user, have no such replacement: a session without room for one ends.
func (s *Session) Notify(frame []byte) {
	if notice, ok := wire.ParseNotice(frame); ok {
		if notice.Own && s.hasRead(notice) {
			return
		}
		if !s.conn.notify(notice, frame) {
			s.tunnel.opts.Dialogues.Dropped(delivery.DropNotice)
		}
		return
	}
	if s.conn.add(frame, outgoing{}, s.maxFrames()) == errFull {
		s.tunnel.opts.Dialogues.Dropped(delivery.DropEcho)
		s.conn.Kill()
	}
}

// Flush implements delivery.Sink.
func (s *Session) Flush() { s.conn.flush() }

// answer sends the answer to a frame of this session. The limit of frames in flight bounds the number of answers.
func (s *Session) answer(frame []byte) {
	if err := s.conn.add(frame, outgoing{answer: true}, s.maxFrames()); err != nil {
		s.settle([]outgoing{{answer: true}}, err)
		return
	}
	s.member.FlushSoon()
}

// closeWith sends a last frame, unless it is empty, and then the close frame, after all waiting frames. A peer that
// does not read is cut off after a while. Only the first call has an effect.
func (s *Session) closeWith(last []byte, code int, reason string) {
	s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.ended {
		return
	}
	s.closing, s.closeMsg = true, websocket.FormatCloseMessage(code, reason)
	s.room.Broadcast()
	s.killer = time.AfterFunc(2*linger, s.conn.Kill)
	if len(last) > 0 {
		// Without room for it the peer does not read, and would not see it.
		_ = s.conn.add(last, outgoing{}, s.maxFrames())
	}
	s.sendClose()
}

// leave makes the session accept no more dialogues. From here on its user may be offline. It may be called repeatedly.
func (s *Session) leave() {
	s.conn.refuse()
	s.member.Leave()
}

// ending is called before the connection writes a close frame, or when it is dead. A dead connection ends the session
// at once: the session's reader may be waiting for the rate limit or for a place in flight, and would not notice.
func (s *Session) ending(dead bool) {
	s.leave()
	if dead {
		s.end()
	}
}

// peerCloses answers the peer's close frame, behind the waiting frames. The peer reads no dialogue after its close
// frame, and its user is offline before the peer gets the answer.
func (s *Session) peerCloses(code int) {
	s.mu.Lock()
	ours := s.closing // the peer answers the server's close frame and has read everything before it
	s.mu.Unlock()
	if !ours {
		s.conn.discard()
	}
	s.leave()
	s.control(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
}

const reasonSilent = "no sign of life"

// cutOff ends the session of a silent peer. The close frame is for a peer that is only slow.
func (s *Session) cutOff() {
	s.conn.discard()
	s.tunnel.metrics.cutOff.Inc()
	s.tunnel.opts.Logger.Info("session cut off", "session", s.id, "user", s.user(), "address", s.address, "reason", reasonSilent, "unanswered", s.unanswered())
	s.closeWith(nil, websocket.ClosePolicyViolation, reasonSilent)
}

// ping implements owner.
func (s *Session) ping() { s.control(websocket.PingMessage, nil) }

// pingAgain pings the peer, and once more after the interval of pings.
func (s *Session) pingAgain() {
	s.mu.Lock()
	if s.ended || s.closing {
		s.mu.Unlock()
		return
	}
	s.pinger.Reset(s.tunnel.opts.Sessions.Ping)
	s.mu.Unlock()
	s.ping()
}

// refresh implements owner.
func (s *Session) refresh(missed map[string]bool) { s.tunnel.refresh(s, missed) }

// control writes a control frame at once, if the handshake is done.
func (s *Session) control(kind int, data []byte) {
	s.mu.Lock()
	ws := s.ws
	s.mu.Unlock()
	if ws.open() {
		ws.control(kind, data, s.tunnel.opts.Sessions.WriteTimeout)
	}
}

// unanswered returns the number of frames that were read from the session and not answered yet.
func (s *Session) unanswered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight
}

// sendClose sends the close frame, once there is a WebSocket to send it on. Called with mu held.
func (s *Session) sendClose() {
	if s.closeMsg != nil && s.ws.open() {
		s.ws.close(s, s.closeMsg)
		s.closeMsg = nil
	}
}

// boundToken returns the hash of the token that the session lives by, and its expiry.
func (s *Session) boundToken() (hash string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.until
}

// bindToken binds the session to a token, by its hash: it ends when the token is revoked. It returns false if the
// session is closing already.
func (s *Session) bindToken(hash string, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.until = hash, until
	return !s.closing && !s.ended
}

// start lets the waiting frames go: the login's answer first, then what was delivered meanwhile.
func (s *Session) start(ws socket) {
	o := s.opening
	s.opening = nil
	if o.streamed != nil {
		s.streamAnswer(o.streamed)
	}
	s.conn.release()
	s.feed.start(o.roster, o.base)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ws = ws
	if !s.ended {
		s.pinger = time.AfterFunc(s.tunnel.opts.Sessions.Ping, s.pingAgain)
	}
	s.sendClose()
}

// acquire takes a place in flight for a frame that was read. It waits for one, which is the backpressure on a client
// that sends faster than its friends read. It returns false if the session has ended.
func (s *Session) acquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inFlight >= s.tunnel.opts.Sessions.InFlight && !s.closing && !s.ended {
		s.room.Wait()
	}
	if s.closing || s.ended {
		return false
	}
	s.inFlight++
	return true
}

// settle settles what is owed for frames that were written, or failed with err.
func (s *Session) settle(owed []outgoing, err error) {
	answers, dialogues := 0, false
	with, n := "", uint64(0)
	for _, o := range owed {
		if o.answer {
			answers++
		}
		if o.dialogue {
			dialogues = true
			if err != nil {
				s.tunnel.opts.Dialogues.Dropped(delivery.DropClosed)
			}
			if !o.kept {
				o.receipt.Settle(err == nil)
			} else if err == nil && o.n != 0 {
				if with != o.with {
					s.got(with, n)
				}
				with, n = o.with, o.n
			}
		}
	}
	if dialogues {
		s.got(with, n)
		s.member.FlushAcks()
		s.makeRoom()
	}
	if answers > 0 {
		if err != nil {
			s.tunnel.metrics.unanswered.Add(float64(answers))
		}
		s.mu.Lock()
		s.inFlight -= answers
		s.room.Signal()
		s.mu.Unlock()
	}
}

// end wakes the goroutines that wait for the session. What its connection still owes is settled when that is closed.
func (s *Session) end() {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	if s.killer != nil {
		s.killer.Stop()
	}
	if s.pinger != nil {
		s.pinger.Stop()
	}
	s.room.Broadcast()
	s.mu.Unlock()
	if !ended {
		close(s.done)
	}
}

// refuse answers a frame with a code, and the dialogue's id if it is known.
func (s *Session) refuse(code wire.Code, id []byte) {
	s.tunnel.opts.Dialogues.Answered(code)
	s.answer(wire.AppendReply(nil, code, id))
}

// Answered implements delivery.Sender.
func (s *Session) Answered(id []byte, code wire.Code, took time.Duration) {
	s.tunnel.opts.Dialogues.Answered(code)
	s.tunnel.opts.Dialogues.Took(took)
	var room [128]byte // most answers fit, and do not allocate
	s.answer(wire.AppendReply(room[:0], code, id))
}
