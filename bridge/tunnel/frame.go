package tunnel

import (
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"imctl/bridge/delivery"
	"imctl/bridge/wire"
)

// received handles one frame of the client: a dialogue. It runs on the session's reader. While it waits, for the rate
// limit or for a place in flight, the server reads nothing more, and TCP holds the client back.
func (s *Session) received(frame []byte) {
	if s.keep {
		s.receivedKeep(frame)
		return
	}
	s.throttle()
	if !s.acquire() {
		s.tunnel.metrics.unanswered.Inc()
		return
	}
	send, code := wire.ParseSend(frame)
	if code == wire.FriendIDEmpty && s.pings && s.pong(frame) {
		return
	}
	with, ok := s.checkSend(frame, send, code)
	if !ok {
		return
	}
	if err := s.member.Send(send.To, with, send.ID, send.Payload, s); err != nil {
		s.tunnel.opts.Logger.Debug("send a dialogue", "err", err)
		s.refuse(wire.SendFailed, send.ID)
	}
}

// pong answers a frame that is a ping. It returns whether it was one.
func (s *Session) pong(frame []byte) bool {
	f, code := wire.ParseKeep(frame)
	if code != 0 || f.Kind != wire.KeepPing {
		return false
	}
	s.answer(wire.AppendPong(nil, f.Ping))
	return true
}

// throttle waits for the rate limit.
func (s *Session) throttle() {
	if wait := s.rate.Reserve(); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.done:
		}
	}
}

// checkSend answers a dialogue that must not be sent. Otherwise it returns the relation to the friend, and true.
func (s *Session) checkSend(frame []byte, send wire.Send, code wire.Code) (with delivery.Relation, ok bool) {
	if code == 0 {
		with = s.member.Relation(send.To)
	}
	switch {
	case code == wire.ProtocolError && !utf8.Valid(frame):
		s.refuse(code, send.ID)
		s.closeWith(nil, websocket.CloseInvalidFramePayloadData, "text must be UTF-8")
	case code != 0:
		s.refuse(code, send.ID)
	case !s.tunnel.opts.Fresh(s.done):
		s.refuse(wire.SendFailed, send.ID)
	case !with.MaySend():
		s.refuse(wire.NotFriends, send.ID)
	case send.IDEmpty():
		s.refuse(wire.DialogueIDEmpty, nil)
	default:
		return with, true
	}
	return with, false
}
