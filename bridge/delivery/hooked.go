package delivery

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"imctl/bridge/hook"
	"imctl/bridge/wire"
	"imctl/kv"
)

// While a moderator is attached, each dialogue waits for its verdict before anything else is done with it. The
// dialogues of a sender go on in the order in which it sent them, whatever the order of the verdicts.
//
//	Member.Send, Member.Keep ─▶ hookQueue ─▶ hook.Asker ─▶ hookedSend.Decided ─▶ hookedSend.proceed
//
// Without a moderator a dialogue costs one load more, and one for a member that has sent dialogues to moderators.

// maxAsked is how many dialogues of one sender moderators are asked about at the same time. Further ones wait, so that
// a flood of one sender does not delay the dialogues of others.
const maxAsked = 64

// A hookQueue has the dialogues of one sender that wait for a verdict, or for those before them.
type hookQueue struct {
	lane   *lane
	member *Member      // nil: of a NATS client
	from   string       // id of the sender
	to     string       // of the member's last dialogue: most go where the one before went
	count  atomic.Int32 // dialogues in the queue, and the dialogue that proceeds

	mu          sync.Mutex // guards the fields below
	first, last *hookedSend
	unasked     *hookedSend // the first dialogue that no moderator was asked about
	asked       int
	bytes       int
	running     bool // a goroutine takes decided dialogues from the front
}

// hookedSend is a dialogue in a hookQueue. It implements hook.Done.
type hookedSend struct {
	queue   *hookQueue
	next    *hookedSend
	sender  Sender
	to      string
	with    Relation
	kept    bool        // it was sent by Keep
	d       kv.Dialogue // with memory of its own
	buffer  []byte
	started time.Time
	verdict hook.Verdict
	decided bool
}

var hookedSends = sync.Pool{New: func() any { return new(hookedSend) }}

// isModerated reports whether the next dialogue waits for a moderator, or for one before it that does.
func (m *Member) isModerated() bool {
	if m.user.lane.asksHooks() {
		return true
	}
	q := m.hooks.Load()
	return q != nil && q.count.Load() > 0
}

// moderate asks moderators about a dialogue, which then proceeds. Errors: errInFlight.
func (m *Member) moderate(to []byte, with Relation, d *kv.Dialogue, kept bool, s Sender) error {
	q := m.hooks.Load()
	if q == nil {
		q = &hookQueue{lane: m.user.lane, member: m, from: m.user.id}
		m.hooks.Store(q)
	}
	if q.to != string(to) {
		q.to = string(to)
	}
	return q.add(q.to, with, d, kept, s)
}

// related is a Sender that is a NATS client. Relation returns what the roster of the client says now of the user to whom
// the dialogue goes. It may wait.
type related interface{ Relation() (Relation, error) }

// asksHooks reports whether moderators are asked about dialogues.
func (l *lane) asksHooks() bool { return l.hooks != nil && l.hooks.Asks() }

// askAgain repeats what moderators were asked on a connection that was lost.
func (l *lane) askAgain() {
	if l.hooks != nil {
		l.hooks.Again()
	}
}

// hookedClients are the queues of users that are NATS clients, by id. A queue without dialogues is removed.
type hookedClients struct {
	count  atomic.Int32 // queues
	mu     sync.Mutex   // guards queues, and that a queue is not removed while a dialogue is added
	queues map[string]*hookQueue
}

// moderateClient is Member.moderate for a NATS client. It returns false if the dialogue waits for no moderator.
func (l *lane) moderateClient(from, to string, with Relation, d *kv.Dialogue, kept bool, s Sender) (bool, error) {
	c := &l.hookedClients
	if !l.asksHooks() && c.count.Load() == 0 {
		return false, nil
	}
	c.mu.Lock()
	q := c.queues[from]
	if q == nil {
		if !l.asksHooks() {
			c.mu.Unlock()
			return false, nil
		}
		q = &hookQueue{lane: l, from: from}
		if c.queues == nil {
			c.queues = make(map[string]*hookQueue)
		}
		c.queues[from] = q
		c.count.Add(1)
	}
	q.count.Add(1) // keeps the queue
	c.mu.Unlock()
	err := q.add(to, with, d, kept, s)
	q.finished()
	return true, err
}

// finished notes that a dialogue has left the queue.
func (q *hookQueue) finished() {
	if q.count.Add(-1) > 0 || q.member != nil {
		return
	}
	c := &q.lane.hookedClients
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.count.Load() == 0 && c.queues[q.from] == q {
		delete(c.queues, q.from)
		c.count.Add(-1)
	}
}

// add queues a dialogue. Errors: errInFlight.
func (q *hookQueue) add(to string, with Relation, d *kv.Dialogue, kept bool, s Sender) error {
	h := hookedSends.Get().(*hookedSend)
	h.queue, h.sender, h.to, h.with, h.kept, h.started = q, s, to, with, kept, time.Now()
	h.copy(d)
	h.d.From = q.from
	size, most := len(h.buffer), q.lane.flights.most()
	q.mu.Lock()
	if all := q.lane.hookedBytes.Add(int64(size)); most > 0 && all > int64(most) && q.bytes+size > senderShare { // see flights.hasRoom
		q.lane.hookedBytes.Add(-int64(size))
		q.mu.Unlock()
		h.free()
		return errInFlight
	}
	q.bytes += size
	q.count.Add(1)
	if q.last == nil {
		q.first = h
	} else {
		q.last.next = h
	}
	q.last = h
	ask := q.unasked == nil && q.asked < maxAsked
	switch {
	case ask:
		q.asked++
	case q.unasked == nil:
		q.unasked = h
	}
	q.mu.Unlock()
	if ask {
		q.ask(h)
	}
	return nil
}

// copy copies a dialogue, whose bytes are valid only during the call of its sender. The copy of a deletion has no text: a
// moderator could neither replace nor drop it.
func (h *hookedSend) copy(d *kv.Dialogue) {
	text := d.Payload
	if d.Deletes != 0 {
		text = noText
	}
	h.buffer = append(append(append(h.buffer[:0], d.ID...), text...), d.File...)
	h.d = *d
	id, payload := len(d.ID), len(d.ID)+len(text)
	h.d.ID, h.d.Payload = h.buffer[:id:id], h.buffer[id:payload:payload]
	if h.d.File = nil; len(d.File) > 0 {
		h.d.File = h.buffer[payload:len(h.buffer):len(h.buffer)]
	}
}

// noText is the payload of a deletion.
var noText = []byte(`""`)

// ask asks about a dialogue, and about later ones while verdicts come at once.
func (q *hookQueue) ask(h *hookedSend) {
	run := false
	for h != nil {
		v, decided := q.lane.hooks.AskDialogue(h.to, &h.d, h.started.Add(q.lane.hooks.Timeout()), h)
		if !decided {
			break // h may be gone already
		}
		var first bool
		h, first = q.decide(h, v)
		run = run || first
	}
	if run {
		q.run()
	}
}

// Decided implements hook.Done.
func (h *hookedSend) Decided(v hook.Verdict) {
	q := h.queue
	next, run := q.decide(h, v)
	if next != nil {
		q.ask(next)
	}
	if run {
		q.run()
	}
}

// decide notes a verdict. It returns the dialogue to ask about next, nil for none, and whether the caller must call run.
func (q *hookQueue) decide(h *hookedSend, v hook.Verdict) (next *hookedSend, run bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h.verdict, h.decided = v, true
	if next = q.unasked; next != nil {
		q.unasked = next.next
	} else {
		q.asked--
	}
	run = !q.running && q.first.decided
	q.running = q.running || run
	return next, run
}

// run has the decided dialogues at the front proceed. A dialogue that may have to wait for the friend's node proceeds on
// a goroutine of its own, as do those behind it: the caller may be the goroutine that takes the verdicts of all senders.
func (q *hookQueue) run() {
	for {
		h := q.take()
		if h == nil {
			return
		}
		if h.mayWait() {
			go func() {
				h.proceed()
				q.run()
			}()
			return
		}
		h.proceed()
	}
}

// take takes a decided dialogue from the front. It returns nil if there is none, and run is over.
func (q *hookQueue) take() *hookedSend {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.first
	if h == nil || !h.decided {
		q.running = false
		return nil
	}
	if q.first = h.next; q.first == nil {
		q.last = nil
	}
	q.bytes -= len(h.buffer)
	return h
}

// mayWait reports whether carryOut may wait: for the roster of a NATS client, or in Member.Send for the answer whether
// the friend is online.
func (h *hookedSend) mayWait() bool {
	l := h.queue.lane
	if h.verdict.Action == hook.Refuse {
		return false
	}
	if h.queue.member == nil {
		return true
	}
	if h.kept || h.verdict.Action == hook.Drop {
		return false
	}
	if h.queue.member.live.count.Load() > 0 {
		return true
	}
	return (l.keeper != nil || l.flights.covered()) && l.lanes.User(h.to) == nil
}

// proceed does with a dialogue what its verdict says, and frees it.
func (h *hookedSend) proceed() {
	q := h.queue
	code, err := h.carryOut()
	if err != nil {
		q.lane.log.Debug("send a dialogue", "err", err)
		code = wire.SendFailed
	}
	if code != 0 {
		h.sender.Answered(h.d.ID, code, time.Since(h.started))
	}
	q.lane.hookedBytes.Add(-int64(len(h.buffer)))
	h.free()
	q.finished()
}

// free keeps the memory of a dialogue that has left the queue.
func (h *hookedSend) free() {
	buffer := h.buffer[:0]
	if cap(buffer) > 3*maxSpareData {
		buffer = nil
	}
	*h = hookedSend{buffer: buffer}
	hookedSends.Put(h)
}

// carryOut sends a dialogue, or returns the code that answers it.
func (h *hookedSend) carryOut() (wire.Code, error) {
	q := h.queue
	switch h.verdict.Action {
	case hook.Refuse:
		return h.verdict.Code, nil
	case hook.Drop:
		if !h.kept {
			return wire.Success, nil
		}
		h.d.Hidden = true
	case hook.Replace:
		h.d.Payload = h.verdict.Payload
	}
	m := q.member
	if by, ok := h.sender.(related); ok && m == nil { // the friendship may have ended meanwhile, here and below
		var err error
		if h.with, err = by.Relation(); err != nil {
			return 0, err
		}
		if !h.with.MaySend() {
			return wire.NotFriends, nil
		}
	}
	if m != nil {
		to := unsafe.Slice(unsafe.StringData(h.to), len(h.to)) // neither callee keeps it
		if h.with = m.user.relation(to); !h.with.MaySend() {
			return wire.NotFriends, nil
		}
		m.address(to)
	}
	switch {
	case h.kept:
		return 0, q.lane.keep(q.from, h.to, h.with, h.d, m, h.sender, h.started)
	case m != nil:
		return 0, m.sendNow(h.with, h.d.ID, h.d.Payload, h.started, h.sender)
	}
	return 0, q.lane.sendClient(h.to, h.with, &h.d, h.started, h.sender)
}
