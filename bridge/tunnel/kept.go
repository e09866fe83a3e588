package tunnel

import (
	"bytes"
	"time"

	"imctl/bridge/delivery"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Take implements delivery.Sink. A session that takes part in kept conversations gets the frame as it is. A frame that
// does not fit costs nothing: the client sees the gap in the numbers, and reads it.
func (s *Session) Take(k delivery.Kept) {
	if !s.keep {
		s.feed.take(k)
		return
	}
	if k.Frame == nil {
		return // the session has sent it
	}
	s.mu.Lock()
	waiting := s.lagging != nil
	s.mu.Unlock()
	if waiting || s.conn.add(k.Frame, outgoing{dialogue: true, kept: true}, s.tunnel.opts.Sessions.Buffer) != nil {
		s.tunnel.opts.Dialogues.Dropped(delivery.DropBufferFull)
		s.lag(k)
	}
}

// maxLagging bounds the conversations of which a session remembers the newest dialogue that did not fit.
const maxLagging = 64

// lag remembers the newest dialogue of a conversation that did not fit. The client gets it as soon as there is room, and
// sees by its number that others are missing.
func (s *Session) lag(k delivery.Kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.closing {
		return
	}
	if s.lagging == nil {
		s.lagging = make(map[string][]byte)
	}
	if _, known := s.lagging[k.With]; known || len(s.lagging) < maxLagging {
		s.lagging[k.With] = bytes.Clone(k.Frame)
	}
}

// makeRoom is called after dialogues were written: there is room for others.
func (s *Session) makeRoom() {
	s.feed.wake()
	s.mu.Lock()
	lagging := s.lagging
	s.lagging = nil
	s.mu.Unlock()
	for with, frame := range lagging {
		if s.conn.add(frame, outgoing{dialogue: true, kept: true}, s.tunnel.opts.Sessions.Buffer) == nil {
			continue
		}
		s.mu.Lock()
		if s.lagging == nil {
			s.lagging = make(map[string][]byte)
		}
		if s.lagging[with] == nil { // no later one has come
			s.lagging[with] = frame
		}
		s.mu.Unlock()
	}
	if len(lagging) > 0 {
		s.member.FlushSoon()
	}
}

// got notes that the client has the dialogues of a conversation up to n. n is 0 for none.
func (s *Session) got(with string, n uint64) {
	if n != 0 {
		s.member.Got(with, n)
	}
}

// typingEvery is the shortest time between two typing notices of a session in one conversation.
const typingEvery = time.Second

// controlsPerDialogue is how many frames that are not answered count as one dialogue.
const controlsPerDialogue = 8

// receivedKeep handles one frame of a client that takes part in kept conversations.
func (s *Session) receivedKeep(frame []byte) {
	f, code := wire.ParseKeep(frame)
	if code == 0 && (f.Kind == wire.KeepGot || f.Kind == wire.KeepRead || f.Kind == wire.KeepTyping) {
		if s.controls++; s.controls%controlsPerDialogue == 0 {
			s.throttle()
		}
		s.acknowledge(f)
		return
	}
	s.throttle()
	if !s.acquire() {
		s.tunnel.metrics.unanswered.Inc()
		return
	}
	if code == 0 && f.Kind == wire.KeepPing {
		s.answer(wire.AppendPong(nil, f.Ping))
		return
	}
	with, ok := s.checkSend(frame, f.Send, code)
	if !ok {
		return
	}
	if err := s.member.Keep(f.To, with, delivery.DialogueOf(f), s); err != nil {
		s.tunnel.opts.Logger.Debug("keep a dialogue", "err", err)
		s.refuse(wire.SendFailed, f.Send.ID)
	}
}

// acknowledge handles a frame that is not answered.
func (s *Session) acknowledge(f wire.KeepFrame) {
	if !kv.ValidID(string(f.With)) {
		return
	}
	with := string(f.With)
	switch f.Kind {
	case wire.KeepGot:
		s.member.Got(with, f.N)
	case wire.KeepRead:
		s.noteRead(with, f.N)
		s.member.Read(with, f.N)
	case wire.KeepTyping:
		now := time.Now()
		if s.typed == with && now.Sub(s.typedAt) < typingEvery {
			return
		}
		s.typed, s.typedAt = with, now
		s.member.Typing(with)
	}
	s.member.FlushAcks()
}

// maxOwnReads bounds what noteRead remembers. A session that forgets one may be told what it has said itself.
const maxOwnReads = 1024

// noteRead remembers how far the client says it has read: it need not be told.
func (s *Session) noteRead(with string, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ownReads == nil || len(s.ownReads) >= maxOwnReads {
		s.ownReads = make(map[string]uint64)
	}
	s.ownReads[with] = max(s.ownReads[with], n)
}

// hasRead reports whether a notice tells the client what it has said itself.
func (s *Session) hasRead(n wire.Notice) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n.N <= s.ownReads[n.ID]
}

// Kept implements delivery.Sender.
func (s *Session) Kept(id []byte, n uint64, at time.Time, took time.Duration) {
	s.tunnel.opts.Dialogues.Answered(wire.DialogueKept)
	s.tunnel.opts.Dialogues.Took(took)
	var room [160]byte // most answers fit, and do not allocate
	s.answer(wire.AppendKeptAnswer(room[:0], id, n, at))
}
