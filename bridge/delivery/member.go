package delivery

import (
	"sync/atomic"
	"time"

	"imctl/bridge/wire"
	"imctl/kv"
)

// Member is a sink's place among those of its user. The methods are for the sink.
type Member struct {
	user *User // set by Join, before other goroutines see the member
	sink Sink
	push bool // the sink wants notices
	keep bool // the sink takes part in kept conversations: it acknowledges, and sees numbers

	lastTo, lastSubject string // of the last dialogue: most go where the one before went
	onlineUser          string // was online at onlineAt, on another node
	onlineAt            time.Time
	live                liveLines
	inFlight            int  // bytes of its dialogues in flight; guarded by the mutex of its lane's flights
	dirty               bool // it is in the lane's list of sinks to flush; guarded by lane.batch

	hooks atomic.Pointer[hookQueue] // nil: no moderator was asked about its dialogues yet
}

// NewMember returns the member of a sink, for Lanes.Join. push asks for notices. keep asks for numbered dialogues, and
// implies push.
func NewMember(s Sink, push, keep bool) *Member {
	return &Member{sink: s, push: push || keep, keep: keep}
}

// User returns the member's user. It must not be called before Join.
func (m *Member) User() *User { return m.user }

// Relation returns what the user's roster says of another user.
func (m *Member) Relation(id []byte) Relation { return m.user.relation(id) }

// Send sends a dialogue. The caller must have checked that the relation lets it, and must not call Send concurrently.
// After an error the sender is not answered.
func (m *Member) Send(to []byte, with Relation, id, payload []byte, s Sender) error {
	if m.isModerated() {
		return m.moderate(to, with, &kv.Dialogue{ID: id, Payload: payload}, false, s)
	}
	m.address(to)
	return m.sendNow(with, id, payload, time.Time{}, s)
}

// sendNow sends a dialogue to the user of address. started is when the sender sent it; zero: now.
func (m *Member) sendNow(with Relation, id, payload []byte, started time.Time, s Sender) error {
	on := m.lastSubject
	if m.user.lane.keeper != nil && !with.BlockedBy {
		return m.sendKept(id, payload, started, s)
	}
	if with.BlockedBy {
		on = m.user.lane.names.Nowhere(m.lastTo)
	}
	if m.user.lane.flights.covered() {
		online, err := m.onlineAtSubject(on)
		if err != nil {
			return err
		}
		if !online {
			if !with.BlockedBy {
				m.refusedOffline(id, payload)
			}
			s.Answered(id, wire.PeerOffline, 0)
			return nil
		}
	}
	return m.user.lane.send(m.user.id, m.lastTo, on, id, payload, m, started, s)
}

// address notes to whom the next dialogue goes.
func (m *Member) address(to []byte) {
	if m.lastTo != string(to) {
		m.lastTo = string(to)
		m.lastSubject = m.user.lane.names.Dialogue(m.lastTo)
	}
}

// notify queues a notice, and flushes it with the lane's current batch.
func (m *Member) notify(frame []byte) {
	m.sink.Notify(frame)
	m.user.lane.flushSoon(m)
}

// deliver hands the sink a dialogue. from is the friend if the dialogue is not stored, "" otherwise.
func (m *Member) deliver(from string, frame []byte, r Receipt) error {
	if from != "" {
		return m.sink.DeliverLive(from, frame, r)
	}
	return m.sink.Deliver(frame, r)
}

// RefuseAwaited answers the senders that wait until a client of the user has a dialogue of the conversation: the sink does
// not take these dialogues any more.
func (m *Member) RefuseAwaited(with string) { m.user.refuseAwaitedOf(with) }

// FlushSoon flushes the sink at the end of the lane's current batch, or now if none is running.
func (m *Member) FlushSoon() { m.user.lane.flushSoon(m) }

// FlushAcks sends the acknowledgements of receipts that were settled, unless the lane is about to.
func (m *Member) FlushAcks() { m.user.lane.published(m.user.lane.acks.flush()) }

// MarkElsewhere notes that the user has clients other than the sinks here.
func (m *Member) MarkElsewhere() { m.user.MarkElsewhere() }

// Announce tells the user's friends that it is online.
func (m *Member) Announce() {
	u := m.user
	u.lane.announcer.add(&announcement{user: u.id, friends: u.visible(), online: true})
}

// Leave removes the sink from its user. After the last one the user is offline on this node. Leave may be called
// repeatedly.
func (m *Member) Leave() {
	if m.user != nil {
		m.user.lane.leave(m)
	}
}
