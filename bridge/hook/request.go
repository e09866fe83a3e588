package hook

import (
	"encoding/json"
	"strings"
	"sync"
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
	room  int  // bytes that a replacement may have
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

// Requests of an Asker that are under way, and the bytes of a finished one that are kept for its memory.
const (
	maxRequests = 16 << 10
	maxSpare    = 4 << 10
)

// An Asker makes requests on one connection. It has no goroutine: the answers of all requests arrive on one subscription
// of its caller.
type Asker struct {
	service *Service
	nc      *nats.Conn
	inbox   string // reply subjects are this and the token of a request

	mu     sync.Mutex // guards the fields below
	slots  []*request
	free   []uint32
	timer  *time.Timer
	check  time.Time // when the timer fires; zero: it does not run
	closed bool
}

// question is a request as it is published. It has memory of its own, so that mu is not held meanwhile: the NATS client
// holds its lock while it writes, and Receive must not wait for that.
type question struct{ subject, reply, body []byte }

var questions = sync.Pool{New: func() any { return new(question) }}

// free keeps the memory of a question.
func (q *question) free() {
	if cap(q.body) <= maxSpare {
		questions.Put(q)
	}
}

// NewAsker returns an asker for a connection. The caller subscribes to Filter and calls Receive for each message.
func (s *Service) NewAsker(nc *nats.Conn) *Asker {
	a := &Asker{service: s, nc: nc, inbox: nc.NewInbox() + inboxMark}
	a.timer = time.AfterFunc(time.Hour, a.expire)
	a.timer.Stop()
	return a
}

// inboxMark is the word in the reply subjects of requests.
const inboxMark = ".hook."

// Filter returns the filter of the subjects of answers.
func (a *Asker) Filter() string { return a.inbox + "*" }

// IsAnswer reports whether a subject is one of Filter.
func (a *Asker) IsAnswer(subject string) bool { return strings.HasPrefix(subject, a.inbox) }

// Timeout returns the time limit of a request.
func (a *Asker) Timeout() time.Duration { return a.service.opts.Timeout }

// Asks reports whether moderators are asked about dialogues.
func (a *Asker) Asks() bool { return a.service.Asks(Dialogue) }

// Close refuses what waits for an answer. It may be called repeatedly.
func (a *Asker) Close() {
	a.mu.Lock()
	a.closed = true
	a.timer.Stop()
	var all []ended
	for n, r := range a.slots {
		if r.done != nil {
			all = append(all, a.end(uint32(n)))
		}
	}
	a.mu.Unlock()
	for _, e := range all {
		e.done.Decided(Verdict{Action: Refuse, Code: failure(e.kind)})
	}
}

// AskDialogue asks about a dialogue of d.From. If decided is false, done is told the verdict before due, or soon
// afterwards. AskDialogue keeps neither d nor its fields. The file of d is its id.
func (a *Asker) AskDialogue(to string, d *kv.Dialogue, due time.Time, done Done) (v Verdict, decided bool) {
	now := time.Now()
	probe, v, decided := a.allow(Dialogue, now, due)
	if decided {
		return v, true
	}
	const keys = len(`{"id":,"toFriend":"","payload":}`)
	room := a.service.opts.MaxFrame - keys - len(d.ID) - len(to)
	fixed := d.Deletes != 0
	q := questions.Get().(*question)
	defer q.free()
	q.subject = a.service.opts.Prefix.AppendHookDialogue(q.subject[:0], d.From, to)
	q.body = appendDialogue(q.body[:0], to, d)
	return a.ask(request{done: done, kind: Dialogue, probe: probe, asked: now, due: due, room: room, fixed: fixed}, q)
}

// ask asks about anything else, and waits for the verdict.
func (s *Service) ask(k Kind, subject string, body any) Verdict {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings always marshal
	}
	now := time.Now()
	due, wait := now.Add(s.opts.Timeout), make(waiter, 1)
	probe, v, decided := s.calls.allow(k, now, due)
	if decided {
		return v
	}
	q := &question{subject: []byte(subject), body: data}
	if v, decided := s.calls.ask(request{done: wait, kind: k, probe: probe, asked: now, due: due, room: noteRoom}, q); decided {
		return v
	}
	return <-wait
}

// waiter is a Done that a goroutine waits for.
type waiter chan Verdict

func (w waiter) Decided(v Verdict) { w <- v }

// allow reports whether a request may be made, and whether it is a probe. Unless it may, the request is decided.
func (a *Asker) allow(k Kind, now, due time.Time) (probe bool, v Verdict, decided bool) {
	if !a.service.Asks(k) {
		return false, Verdict{}, true
	}
	if !now.Before(due) { // it has waited for earlier requests of its sender
		return false, a.service.without(k, resultTimeout), true
	}
	ok, probe := a.service.breakers[k].allow(now)
	if !ok {
		return false, a.service.without(k, resultOpen), true
	}
	return probe, Verdict{}, false
}

// ask makes the request r, with a question that has its subject and body. A request that cannot be sent waits for the
// connection until the request is due.
func (a *Asker) ask(r request, q *question) (v Verdict, decided bool) {
	a.mu.Lock()
	if a.closed || len(a.free) == 0 && len(a.slots) == maxRequests {
		a.mu.Unlock()
		if r.probe {
			a.service.breakers[r.kind].failed(r.asked, true, a.service.opts.Failures, a.service.opts.Pause)
		}
		return a.service.without(r.kind, resultBusy), true
	}
	var n uint32
	if last := len(a.free) - 1; last >= 0 {
		n, a.free = a.free[last], a.free[:last]
	} else {
		n = uint32(len(a.slots))
		a.slots = append(a.slots, new(request))
	}
	s := a.slots[n]
	r.round = s.round + 1
	r.subject, r.body = append(s.subject[:0], q.subject...), append(s.body[:0], q.body...)
	*s = r
	q.reply = appendToken(append(q.reply[:0], a.inbox...), n, r.round)
	if check := r.due.Add(a.tick()); a.check.IsZero() || check.Before(a.check) {
		a.check = check
		a.timer.Reset(check.Sub(r.asked))
	}
	a.mu.Unlock()
	a.send(r.kind, q.subject, q.reply, q.body)
	return Verdict{}, false
}

func (a *Asker) send(k Kind, subject, reply, body []byte) {
	// The NATS client copies all three into its buffer before it returns.
	if err := a.nc.PublishRequest(text(subject), text(reply), body); err != nil {
		a.service.opts.Log.Debug("ask a moderator", "hook", k, "err", err)
	}
}

func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Again repeats the requests that are under way, after the connection was lost. The first answer counts.
func (a *Asker) Again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, r := range a.slots {
		if r.done != nil {
			a.send(r.kind, r.subject, appendToken([]byte(a.inbox), uint32(n), r.round), r.body)
		}
	}
}

// answerRoom are the bytes that an answer may have besides the replacement, and noteRoom those of a replaced note.
const (
	answerRoom = 1 << 10
	escaped    = 6                 // bytes of a character that a moderator writes as an escape
	noteRoom   = 12 * wire.MaxNote // a character has at most twelve bytes: two escapes
)

// end frees the slot of a request. The caller holds a.mu.
func (a *Asker) end(n uint32) ended {
	r := a.slots[n]
	e := ended{r.done, r.kind, r.probe, r.asked, r.room, r.fixed}
	r.done = nil
	if cap(r.body) > maxSpare {
		r.body = nil
	}
	a.free = append(a.free, n)
	return e
}

// Receive takes an answer. An answer to a request that has ended has no effect.
func (a *Asker) Receive(m *nats.Msg) {
	n, round, ok := parseToken(m.Subject[len(a.inbox):])
	if !ok {
		return
	}
	a.mu.Lock()
	if int(n) >= len(a.slots) || a.slots[n].done == nil || a.slots[n].round != round {
		a.mu.Unlock()
		return
	}
	e := a.end(n)
	a.mu.Unlock()
	e.done.Decided(a.service.judge(e, m))
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
	v, ok := Verdict{}, len(m.Data) <= escaped*e.room+answerRoom // a larger one is not worth its time
	if ok {
		v, ok = parseVerdict(e.kind, m.Data)
	}
	if ok && v.Action == Replace && !e.fixed && len(v.Payload) > e.room {
		// The sender chooses the length of a text. If it passed then, no text that is long enough would be replaced, and a
		// few of them would open the breaker for all.
		s.noteAnswer(e)
		s.metrics.count(e.kind, resultInvalid)
		return Verdict{Action: Refuse, Code: failure(e.kind)}
	}
	switch v.Action {
	case Replace:
		ok = ok && !e.fixed
	case Drop:
		ok = ok && !e.fixed
	}
	if !ok {
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

// tick is the least interval of checks for requests that are due, and so the most that one outlives its time.
func (a *Asker) tick() time.Duration {
	return min(max(a.service.opts.Timeout/16, time.Millisecond), 50*time.Millisecond)
}

// expire ends the requests that are due. The timer then fires for the next one. It goes on when all requests are
// answered meanwhile: to stop it and start it again for each request would take longer than to find none.
func (a *Asker) expire() {
	now := time.Now()
	var late []ended
	a.mu.Lock()
	a.check = time.Time{}
	for n, r := range a.slots {
		switch {
		case r.done == nil:
		case !now.Before(r.due):
			late = append(late, a.end(uint32(n)))
		case a.check.IsZero() || r.due.Before(a.check):
			a.check = r.due
		}
	}
	if !a.check.IsZero() && !a.closed {
		a.check = a.check.Add(a.tick())
		a.timer.Reset(a.check.Sub(now))
	}
	a.mu.Unlock()
	var noted [kinds]bool
	for _, e := range late {
		// Requests that end together count as one failure: a moment of hanging is no reason for a pause.
		if !noted[e.kind] || e.probe {
			noted[e.kind] = true
			a.service.noteFailure(e, now, resultTimeout)
		}
		e.done.Decided(a.service.without(e.kind, resultTimeout))
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
