package delivery

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// While conversations cannot be stored, the dialogue of a session that does not know of kept conversations becomes a
// flight at once. Sessions that know of them do not take it, since it has no number yet. After a client of the friend has
// taken it, it is stored, and then shown to those sessions of both users.
//
//	Member.Send ─▶ Keeper.Add: ErrStalled ─▶ liveLine ─▶ flight ─▶ 200 ─▶ Keeper.AddLive ─▶ keptSend.showLate
//	                                                          └─▶ only sessions with numbers: Keeper.AddFixed
//
// If the friend has only sessions that know of kept conversations, the dialogue waits for the store.

// liveHeader marks a dialogue that is not stored yet, and the echo of one. Sinks that take part in kept conversations do
// not take either.
const liveHeader = "Imctl-Live"

// keepsOnly is the refusal of a node on which all sinks of the user take part in kept conversations. It is no code of the
// wire: it ends with the flight.
const keepsOnly wire.Code = -1

var keepsOnlyReply = []byte(`{"code":507,"keeps":true}`)

// liveLines are the dialogues of a session that must not overtake each other, by friend.
type liveLines struct {
	count atomic.Int32 // dialogues in all lines
	mu    sync.Mutex   // guards lines, and the order of what is launched
	lines map[string][]*liveSend
	moved *sync.Cond // a line has become shorter; nil: no goroutine has waited for it yet
}

// liveSend is a dialogue in a line. It implements Sender for its flight.
type liveSend struct {
	member   *Member
	sender   Sender
	to       string
	d        kv.Dialogue // N is 0 unless it is stored already: it then waits for the flights before it
	started  time.Time
	launched bool
	outcome  wire.Code // of the flight; 0: none yet
}

// drain waits until the dialogues of a line are answered, so that a later one does not get an earlier number. Flights end
// after their timeout.
func (l *liveLines) drain(to string) {
	if l.count.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved == nil {
		l.moved = sync.NewCond(&l.mu)
	}
	for len(l.lines[to]) > 0 {
		l.moved.Wait()
	}
}

// sendLive sends a dialogue that is not stored.
func (m *Member) sendLive(to string, id, payload []byte, started time.Time, s Sender) {
	d := kv.Dialogue{From: m.user.id, ID: slices.Clone(id), Payload: slices.Clone(payload)}
	m.live.add(&liveSend{member: m, sender: s, to: to, d: d, started: started})
}

// hold has a stored dialogue wait until the dialogues before it are answered. It returns false if there are none.
func (m *Member) hold(s *keptSend, d *kv.Dialogue) bool {
	if m == nil || m.live.count.Load() == 0 {
		return false
	}
	stored := *d
	stored.ID, stored.Payload = slices.Clone(d.ID), slices.Clone(d.Payload)
	m.live.add(&liveSend{member: m, sender: s.sender, to: s.to, d: stored, started: s.started})
	return true
}

func (l *liveLines) add(s *liveSend) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = make(map[string][]*liveSend)
	}
	l.count.Add(1)
	l.lines[s.to] = append(l.lines[s.to], s)
	l.advance(s.to)
}

// advance launches what may be launched, and ends what is at the front of the line and answered. The caller holds l.mu.
func (l *liveLines) advance(to string) {
	line := l.lines[to]
	for len(line) > 0 && (line[0].outcome != 0 || line[0].d.N != 0) {
		s := line[0]
		line[0] = nil
		line = line[1:]
		l.count.Add(-1)
		if s.outcome != 0 {
			s.end()
		} else {
			s.stored().launch(&s.d)
		}
	}
	if l.moved != nil {
		l.moved.Broadcast()
	}
	if len(line) == 0 {
		delete(l.lines, to)
		return
	}
	l.lines[to] = line
	for _, s := range line {
		if s.d.N != 0 {
			return
		}
		if s.launched {
			continue
		}
		s.launched = true
		if s.launch(); s.outcome != 0 {
			l.advance(to)
			return
		}
	}
}

// launch makes the dialogue a flight.
func (s *liveSend) launch() {
	lane := s.member.user.lane
	fl := lane.flights.take(s)
	fl.from, fl.to, fl.member, fl.subject, fl.live, fl.started = s.d.From, s.to, s.member, lane.names.Dialogue(s.to), true, s.started
	fl.id = append(fl.id, s.d.ID...)
	fl.data = wire.AppendDialogue(fl.data, s.d.ID, s.d.From, s.d.Payload)
	if err := lane.flights.launch(fl); err != nil {
		lane.log.Debug("send a dialogue that is not stored", "err", err)
		s.sender.Answered(s.d.ID, wire.SendFailed, time.Since(s.started))
		s.outcome = wire.SendFailed
	}
}

// Answered implements Sender. It is called for the flight.
func (s *liveSend) Answered(id []byte, code wire.Code, took time.Duration) {
	if code != keepsOnly {
		s.sender.Answered(id, code, took)
	}
	l := &s.member.live
	l.mu.Lock()
	defer l.mu.Unlock()
	s.outcome = code
	l.advance(s.to)
}

// Kept implements Sender. A flight does not call it.
func (s *liveSend) Kept([]byte, uint64, time.Time, time.Duration) {}

// stored returns the dialogue in the form that the Keeper stores.
func (s *liveSend) stored() *keptSend {
	k := keptSends.Get().(*keptSend)
	*k = keptSend{lane: s.member.user.lane, member: s.member, sender: s.sender, from: s.d.From, to: s.to, plain: true, started: s.started,
		id: append(k.id[:0], s.d.ID...), frame: k.frame[:0], second: k.second[:0]}
	return k
}

// end stores the dialogue if it was delivered, or if it has to wait for the store.
func (s *liveSend) end() {
	keeper := s.member.user.lane.keeper
	switch s.outcome {
	case wire.Success:
		k := s.stored()
		k.late = true
		keeper.AddLive(s.to, s.d, k)
	case keepsOnly:
		k := s.stored()
		if err := keeper.AddFixed(s.to, s.d, k); err != nil {
			k.Failed(err)
		}
	}
}

// Unstored implements talk.Done.
func (s *keptSend) Unstored(d *kv.Dialogue) {
	s.member.sendLive(s.to, d.ID, d.Payload, s.started, s.sender)
	s.free()
}

// showLate shows a dialogue that was delivered before it was stored to the sinks of both users that take part in kept
// conversations. For all others its number is taken.
func (s *keptSend) showLate(d *kv.Dialogue) {
	if u := s.lane.lanes.User(s.to); u != nil {
		s.hand(u, d)
	}
	if u := s.lane.lanes.User(s.from); u != nil {
		k := Kept{With: s.to, N: d.N, Own: true}
		if u.keeps() {
			s.frame = talk.Frame(d, s.to).Append(s.frame[:0])
			k.Frame = s.frame
		}
		u.keptOwn(k, s.member)
	}
	s.lane.publishStored(s.to, s.from, d)
	s.lane.publishStored(s.from, s.to, d)
}

// publishStored shows a dialogue that was delivered before it was stored to the sessions of a user on other nodes. NATS
// clients do not subscribe to the subject: they have taken the dialogue, or read it later.
func (l *lane) publishStored(user, with string, d *kv.Dialogue) {
	on := l.names.Stored(user)
	if !l.others(on, l.lanes.User(user)) {
		return
	}
	m := &nats.Msg{Subject: on, Header: nats.Header{nodeHeader: {l.node}}, Data: talk.Frame(d, with).Append(nil)}
	if err := l.nc.PublishMsg(m); err != nil {
		l.log.Debug("show a stored dialogue", "err", err) // the clients see the gap in the numbers
	}
}

// storedElsewhere takes a dialogue that another node has stored after its delivery.
func (l *lane) storedElsewhere(u *User, m *nats.Msg) {
	d, ok := wire.ParseKept(m.Data)
	if !ok || m.Header.Get(nodeHeader) == l.node || l.keeper == nil {
		return
	}
	with := string(d.With)
	l.keeper.Seen(u.id, with, d.N)
	k := Kept{With: with, N: d.N, Frame: m.Data}
	if string(d.From) == u.id {
		k.Own = true
		u.keptOwn(k, nil)
		return
	}
	l.scratch = u.kept(k, &kv.Dialogue{N: d.N, From: with, Live: true}, l.scratch)
}

// isLive reports whether a message has a dialogue that is not stored yet.
func isLive(m *nats.Msg) bool { return len(m.Header) > 0 && m.Header.Get(liveHeader) != "" }

// liveMessage returns the request of a flight that is not stored.
func liveMessage(fl *flight) *nats.Msg {
	return &nats.Msg{Subject: fl.subject, Reply: string(fl.reply), Header: nats.Header{liveHeader: {"1"}}, Data: fl.data}
}

// withoutKeepers returns the members that do not take part in kept conversations.
func withoutKeepers(members []*Member) []*Member {
	return slices.DeleteFunc(slices.Clone(members), func(m *Member) bool { return m.keep })
}

// notifyPlain sends a frame to the sinks on this node that want notices and do not take part in kept conversations.
func (u *User) notifyPlain(frame []byte) {
	for _, m := range u.list() {
		if m.push && !m.keep {
			m.notify(frame)
		}
	}
}

// isStalled reports whether an error of a Keeper lets the caller deliver the dialogue.
func isStalled(err error) bool { return errors.Is(err, talk.ErrStalled) }
