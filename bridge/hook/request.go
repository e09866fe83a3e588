package hook

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
	"imctl/kv"
)

// request is a question that is not answered yet. Its memory is used again.
type request struct {
	done  Done // nil: the slot is free
	kind  Kind
	probe bool
	round uint32 // a late answer to an earlier use of the slot has an earlier round
	asked time.Time
	due   time.Time
	room  int  // bytes that a replacement may have; 0: no limit
	fixed bool // it can be neither replaced nor dropped

	subject, body []byte
}

// ended is a request after its end.
type ended struct {
	done  Done
	kind  Kind
	probe bool
	asked time.Time
	room  int
	fixed bool
}

// Requests that are under way, and the bytes of a finished one that are kept for its memory.
const (
	maxRequests = 64 << 10
	maxSpare    = 4 << 10
)

// AskDialogue asks about a dialogue of d.From. If decided is false, done is told the verdict before due, or soon
// afterwards. AskDialogue keeps neither d nor its fields. The file of d is its id.
func (s *Service) AskDialogue(to string, d *kv.Dialogue, due time.Time, done Done) (v Verdict, decided bool) {
	r, v, decided := s.begin(Dialogue, due, done)
	if decided {
		return v, true
	}
	defer s.mu.Unlock()
	r.subject = s.opts.Prefix.AppendHookDialogue(r.subject[:0], d.From, to)
	r.body = appendDialogue(r.body[:0], to, d)
	r.fixed = d.Deletes != 0
	if s.opts.MaxFrame > 0 {
		const keys = len(`{"id":,"toFriend":"","payload":}`)
		r.room = s.opts.MaxFrame - keys - len(d.ID) - len(to)
	}
	s.publish(r)
	return Verdict{}, false
}

// ask asks about anything else, and waits for the verdict.
func (s *Service) ask(k Kind, subject string, body any) Verdict {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always marshal
	}
	wait := make(waiter, 1)
	r, v, decided := s.begin(k, time.Now().Add(s.opts.Timeout), wait)
	if decided {
		return v
	}
	r.subject, r.body = append(r.subject[:0], subject...), append(r.body[:0], data...)
	s.publish(r)
	s.mu.Unlock()
	return <-wait
}

// waiter is a Done that a goroutine waits for.
type waiter chan Verdict

func (w waiter) Decided(v Verdict) { w <- v }

// begin places a request, which the caller fills in and publishes. Unless the request is decided, begin returns with
// s.mu held.
func (s *Service) begin(k Kind, due time.Time, done Done) (r *request, v Verdict, decided bool) {
	if !s.Asks(k) {
		return nil, Verdict{}, true
	}
	now := time.Now()
	if !now.Before(due) { // it has waited for earlier requests of its sender
		return nil, s.without(k, resultTimeout), true
	}
	ok, probe := s.breakers[k].allow(now)
	if !ok {
		return nil, s.without(k, resultOpen), true
	}
	s.mu.Lock()
	if s.closed || len(s.free) == 0 && len(s.slots) == maxRequests {
		s.mu.Unlock()
		if probe {
			s.breakers[k].failed(now, true, s.opts.Failures, s.opts.Pause)
		}
		return nil, s.without(k, resultBusy), true
	}
	var n uint32
	if last := len(s.free) - 1; last >= 0 {
		n, s.free = s.free[last], s.free[:last]
	} else {
		n = uint32(len(s.slots))
		s.slots = append(s.slots, new(request))
	}
	r = s.slots[n]
	r.done, r.kind, r.probe, r.asked, r.due, r.room, r.fixed = done, k, probe, now, due, 0, false
	r.round++
	s.reply = appendToken(append(s.reply[:0], s.inbox...), n, r.round)
	if s.active++; s.active == 1 {
		s.timer.Reset(s.tick())
	}
	return r, Verdict{}, false
}

// publish publishes the request that begin has placed last. A request that cannot be sent waits for the connection,
// until it is due. The caller holds s.mu.
func (s *Service) publish(r *request) { s.send(r, s.reply) }

func (s *Service) send(r *request, reply []byte) {
	// The NATS client copies all three into its buffer before it returns.
	if err := s.nc.PublishRequest(text(r.subject), text(reply), r.body); err != nil {
		s.opts.Log.Debug("ask a moderator", "hook", r.kind, "err", err)
	}
}

func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// askAgain repeats the requests that are under way, after the connection was lost. The first answer counts.
func (s *Service) askAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, r := range s.slots {
		if r.done != nil {
			s.send(r, appendToken([]byte(s.inbox), uint32(n), r.round))
		}
	}
}

// appendToken appends the last word of the reply subject of a request.
func appendToken(dst []byte, n, round uint32) []byte {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], n)
	binary.BigEndian.PutUint32(b[4:], round)
	return hex.AppendEncode(dst, b[:])
}

// parseToken parses the last word of a reply subject.
func parseToken(token string) (n, round uint32, ok bool) {
	var b [8]byte
	if len(token) != hex.EncodedLen(len(b)) {
		return 0, 0, false
	}
	var room [16]byte
	if _, err := hex.Decode(b[:], append(room[:0], token...)); err != nil {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:]), true
}

// end frees the slot of a request. The caller holds s.mu.
func (s *Service) end(n uint32) ended {
	r := s.slots[n]
	e := ended{r.done, r.kind, r.probe, r.asked, r.room, r.fixed}
	r.done = nil
	if cap(r.body) > maxSpare {
		r.body = nil
	}
	s.free = append(s.free, n)
	if s.active--; s.active == 0 {
		s.timer.Stop()
	}
	return e
}

// receive takes an answer. One that answers nothing that is under way has no effect.
func (s *Service) receive(m *nats.Msg) {
	n, round, ok := parseToken(m.Subject[len(s.inbox):])
	if !ok {
		return
	}
	s.mu.Lock()
	if int(n) >= len(s.slots) || s.slots[n].done == nil || s.slots[n].round != round {
		s.mu.Unlock()
		return
	}
	e := s.end(n)
	s.mu.Unlock()
	e.done.Decided(s.judge(e, m))
}

// judge returns the verdict of an answer, and notes what it says about the moderator.
func (s *Service) judge(e ended, m *nats.Msg) Verdict {
	b, now := &s.breakers[e.kind], time.Now()
	if len(m.Data) == 0 && len(m.Header) > 0 && m.Header.Get("Status") == "503" {
		s.noteAnswer(e)
		if !b.absent.Swap(true) {
			s.opts.Log.Warn("no moderator is connected that answers a hook", "hook", e.kind, "effect", s.opts.OnError.effect())
		}
		return s.without(e.kind, resultAbsent)
	}
	if b.absent.Load() && b.absent.Swap(false) {
		s.opts.Log.Info("a moderator is connected that answers a hook", "hook", e.kind)
	}
	v, ok := parseVerdict(e.kind, m.Data)
	if ok && v.Action == Replace {
		ok = !e.fixed && (e.room == 0 || len(v.Payload) <= e.room)
	}
	if !ok || v.Action == Drop && e.fixed {
		s.opts.Log.Debug("an invalid answer of a moderator", "hook", e.kind, "bytes", len(m.Data))
		s.noteFailure(e, now, resultInvalid)
		return s.without(e.kind, resultInvalid)
	}
	s.noteAnswer(e)
	s.metrics.took(e.kind, results[v.Action], now.Sub(e.asked))
	return v
}

// noteAnswer notes that moderators answer.
func (s *Service) noteAnswer(e ended) {
	if s.breakers[e.kind].succeeded(e.probe) {
		s.opts.Log.Info("moderators answer a hook again", "hook", e.kind)
	}
}

// noteFailure notes that a moderator did not answer, or answered nonsense.
func (s *Service) noteFailure(e ended, now time.Time, why result) {
	if s.breakers[e.kind].failed(now, e.probe, s.opts.Failures, s.opts.Pause) {
		s.opts.Log.Warn("moderators do not answer a hook", "hook", e.kind, "last", string(why), "effect", s.opts.OnError.effect())
	}
}

// tick is the interval of checks for requests that are due, and so the most that one outlives its time.
func (s *Service) tick() time.Duration {
	return min(max(s.opts.Timeout/16, time.Millisecond), 50*time.Millisecond)
}

// expire ends the requests that are due.
func (s *Service) expire() {
	now := time.Now()
	var late []ended
	s.mu.Lock()
	for n, r := range s.slots {
		if r.done != nil && !now.Before(r.due) {
			late = append(late, s.end(uint32(n)))
		}
	}
	if s.active > 0 && !s.closed {
		s.timer.Reset(s.tick())
	}
	s.mu.Unlock()
	for _, e := range late {
		s.noteFailure(e, now, resultTimeout)
		e.done.Decided(s.without(e.kind, resultTimeout))
	}
}

// without returns what happens without a valid answer.
func (s *Service) without(k Kind, why result) Verdict {
	s.metrics.count(k, why)
	if s.opts.OnError == RefuseOnError {
		return Verdict{Action: Refuse, Code: failure(k)}
	}
	return Verdict{}
}

// failure is the code of a refusal without an answer.
func failure(k Kind) wire.Code {
	if k == Dialogue {
		return wire.SendFailed
	}
	return wire.InternalError
}

// appendDialogue appends the body of a question about a dialogue. Its id and payload are those of the frame, byte for
// byte.
func appendDialogue(b []byte, to string, d *kv.Dialogue) []byte {
	b = append(append(b, `{"v":1,"id":`...), d.ID...)
	b = append(append(b, `,"from":"`...), d.From...) // ids need no escaping
	b = append(append(b, `","to":"`...), to...)
	b = append(append(b, `","payload":`...), d.Payload...)
	for _, n := range [...]struct {
		key string
		n   uint64
	}{{`,"re":`, d.Re}, {`,"reacts":`, d.Reacts}, {`,"edits":`, d.Edits}, {`,"deletes":`, d.Deletes}} {
		if n.n != 0 {
			b = strconv.AppendUint(append(b, n.key...), n.n, 10)
		}
	}
	if len(d.File) > 0 {
		file, err := json.Marshal(string(d.File))
		if err != nil {
			panic(err) // a string always marshals
		}
		b = append(append(b, `,"file":`...), file...)
	}
	return append(b, '}')
}
