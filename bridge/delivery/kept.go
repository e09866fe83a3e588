package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"imctl/bridge/eventlog"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// A dialogue of a conversation that is kept is stored before any client sees it. Afterwards the node of the sender
// hands it to the sessions on this node, in the order of the numbers, and publishes it for the friend's clients
// elsewhere.
//
//	Member.Keep ─▶ Keeper.Add ─▶ commit ─▶ keptSend.Stored ─┬▶ Sender.Kept (202)
//	                                                        ├▶ sinks of both users on this node
//	                                                        └▶ NATS ─▶ lanes of other nodes, NATS clients
//
// The dialogue of a sender that does not know of kept conversations becomes a flight when it is stored, and is answered
// after a client of the friend has it.

// Kept is a dialogue of a conversation that is kept, for the sinks of one of its users.
type Kept struct {
	With  string // id of the other user
	N     uint64
	Own   bool   // the user has sent it itself
	Frame []byte // as sessions see it that take part in kept conversations
	Plain []byte // as the user's other sessions see it; nil: they do not
}

// keptSend is a dialogue on its way into the store. It implements talk.Done and eventlog.Done.
type keptSend struct {
	lane     *lane
	member   *Member // of the session that sent the dialogue; nil for a NATS client
	sender   Sender
	from, to string
	plain    bool      // the sender does not know of kept conversations
	late     bool      // it was delivered and answered before it was stored
	sent     time.Time // when a dialogue that was moderated was sent; zero for all others
	started  time.Time
	id       []byte

	n             uint64 // of the stored dialogue
	at            time.Time
	frame, second []byte
}

var keptSends = sync.Pool{New: func() any { return new(keptSend) }}

// Keep stores a dialogue and sends it. It is answered by Sender.Kept when it is stored. The caller must have checked
// that the relation lets it, and must not call Keep concurrently. After an error the sender is not answered.
func (m *Member) Keep(to []byte, with Relation, d kv.Dialogue, s Sender) error {
	if m.isModerated() {
		return m.moderate(to, with, &d, true, s)
	}
	m.address(to)
	return m.user.lane.keep(m.user.id, m.lastTo, with, d, m, s, time.Time{})
}

// Keep is Member.Keep for a user that is a NATS client.
func (l *Lanes) Keep(from, to string, with Relation, d kv.Dialogue, s Sender) error {
	lane := l.of(from)
	if moderated, err := lane.moderateClient(from, to, with, &d, true, s); moderated {
		return err
	}
	return lane.keep(from, to, with, d, nil, s, time.Time{})
}

// DialogueOf returns the dialogue of a frame. It aliases the frame. Its File is the id of the file.
func DialogueOf(f wire.KeepFrame) kv.Dialogue {
	d := kv.Dialogue{ID: f.ID, Payload: f.Payload, Re: f.Re, Reacts: f.Reacts, Edits: f.Edits, Deletes: f.Deletes, File: f.File}
	if d.Payload == nil {
		d.Payload = []byte(`""`) // a deletion may have none
	}
	return d
}

// Keeps reports whether conversations are kept.
func (l *Lanes) Keeps() bool { return l.lanes[0].keeper != nil }

func (l *lane) keep(from, to string, with Relation, d kv.Dialogue, m *Member, s Sender, started time.Time) error {
	// A blocked sender must not learn of it. Its dialogue is stored, and the friend does not see it.
	d.From, d.Kept, d.Hidden = from, true, d.Hidden || with.BlockedBy
	return l.store(to, d, keptSend{lane: l, member: m, sender: s, from: from, to: to, sent: started})
}

// sendKept stores a dialogue of a session that does not know of kept conversations, if the friend is online. If the
// dialogue cannot be stored at the moment, sendKept sends it all the same.
func (m *Member) sendKept(id, payload []byte, started time.Time, s Sender) error {
	l := m.user.lane
	if !l.keeper.Stalled() { // otherwise the flight finds out
		m.live.drain(m.lastTo)
		online, err := m.friendOnline()
		if err != nil {
			return err
		}
		if !online {
			m.refusedOffline(id, payload)
			s.Answered(id, wire.PeerOffline, 0)
			return nil
		}
	}
	d := kv.Dialogue{From: m.user.id, ID: id, Payload: payload}
	err := l.store(m.lastTo, d, keptSend{lane: l, member: m, sender: s, from: m.user.id, to: m.lastTo, plain: true, sent: started})
	if isStalled(err) {
		m.sendLive(m.lastTo, id, payload, orNow(started), s)
		return nil
	}
	return err
}

// onlineFor is how long a friend on another node counts as online after a client of it has taken a dialogue.
const onlineFor = 50 * time.Millisecond

// friendOnline reports whether the user is online to whom the next dialogue goes.
func (m *Member) friendOnline() (bool, error) {
	return m.onlineAtSubject(m.lastSubject)
}

// onlineAtSubject is friendOnline for a dialogue that goes to another subject of the friend.
func (m *Member) onlineAtSubject(on string) (bool, error) {
	own := on == m.lastSubject
	if own && m.user.lane.lanes.User(m.lastTo) != nil {
		return true, nil
	}
	now := time.Now()
	if own && m.onlineUser == m.lastTo && now.Sub(m.onlineAt) < onlineFor {
		return true, nil
	}
	codes, err := m.user.lane.flights.askAt(context.Background(), []string{on})
	if err != nil {
		return false, err
	}
	m.onlineUser, m.onlineAt = "", now
	switch codes[0] {
	case wire.PeerOffline:
		return false, nil
	case wire.Success:
		if own {
			m.onlineUser = m.lastTo
		}
	}
	return true, nil // also if its clients refuse the question: they may refuse the dialogue
}

// store queues a dialogue for its commit.
func (l *lane) store(to string, d kv.Dialogue, k keptSend) error {
	s := keptSends.Get().(*keptSend)
	k.id, k.frame, k.second, k.started = append(s.id[:0], d.ID...), s.frame[:0], s.second[:0], orNow(k.sent)
	*s = k
	if err := l.keeper.Add(to, d, s); err != nil {
		s.free()
		return err
	}
	return nil
}

// orNow returns the time, or now if it is zero.
func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

// free keeps the memory of a finished dialogue.
func (s *keptSend) free() {
	if cap(s.id)+cap(s.frame)+cap(s.second) <= 3*maxSpareData {
		*s = keptSend{id: s.id[:0], frame: s.frame[:0], second: s.second[:0]}
		keptSends.Put(s)
	}
}

// Failed implements talk.Done.
func (s *keptSend) Failed(err error) {
	if s.late {
		s.free()
		return
	}
	code := wire.SendFailed
	if !errors.As(err, &code) {
		s.lane.log.Debug("store a dialogue", "err", err)
	}
	s.sender.Answered(s.id, code, time.Since(s.started))
	s.free()
}

// Stored implements talk.Done.
func (s *keptSend) Stored(d *kv.Dialogue, again bool) {
	s.n, s.at = d.N, d.At
	if !again && !s.late {
		s.notifyDevices(d)
		s.noteOffline(d)
	}
	switch {
	case s.late:
		s.showLate(d)
		s.free()
		return
	case s.plain && s.member.hold(s, d):
		s.free()
		return
	case s.plain:
		s.launch(d)
		return
	}
	// A repeated dialogue may be one whose entry could not be stored, on any node. So it gets an entry too.
	logged := d.Deletes == 0 && !d.Hidden && s.lane.flights.log != nil && s.lane.flights.log.Attached()
	if !logged { // otherwise the log answers once it has stored the entry
		s.sender.Kept(s.id, s.n, s.at, time.Since(s.started))
	}
	switch {
	case again:
	case d.Hidden:
		s.showOwn(d)
	default:
		s.show(d)
	}
	if !logged {
		s.free()
	} else if !s.lane.flights.log.AddDialogue(eventlog.Dialogue{From: s.from, To: s.to, ID: d.ID, Payload: d.Payload, Sent: s.started, Done: s}) {
		s.Logged(true) // the last consumer has just gone
	}
}

// notifyDevices schedules a push message about a dialogue that the friend sees, and that is no change of another one.
func (s *keptSend) notifyDevices(d *kv.Dialogue) {
	if s.lane.push == nil || d.Hidden || d.Reacts != 0 || d.Edits != 0 || d.Deletes != 0 {
		return
	}
	u := s.lane.lanes.User(s.to)
	s.lane.push.Stored(s.to, s.from, d.N, d.Payload, u != nil || s.lane.others(s.lane.names.Dialogue(s.to), nil))
}

// Logged implements eventlog.Done.
func (s *keptSend) Logged(ok bool) {
	if ok {
		s.sender.Kept(s.id, s.n, s.at, time.Since(s.started))
	} else {
		s.sender.Answered(s.id, wire.SendFailed, time.Since(s.started))
	}
	s.free()
}

// launch makes a stored dialogue a flight, which is answered when a client of the friend has it.
func (s *keptSend) launch(d *kv.Dialogue) {
	f := s.lane.flights
	fl := f.take(s.sender)
	fl.from, fl.to, fl.member, fl.subject, fl.number, fl.started = s.from, s.to, s.member, s.lane.names.Dialogue(s.to), d.N, s.sent
	fl.id = append(fl.id, d.ID...)
	u := s.lane.lanes.User(s.to)
	publish := u == nil || s.lane.others(fl.subject, u)
	frame := talk.Frame(d, s.from)
	fl.data = frame.Append(fl.data)
	s.showOwn(d)
	await, err := f.launchStored(fl, publish)
	switch {
	case err != nil:
		s.lane.log.Debug("send a stored dialogue", "err", err)
		s.sender.Answered(d.ID, wire.SendFailed, time.Since(s.started))
	case u != nil:
		u.await(awaitedReply{with: s.from, n: d.N, flights: f, use: await})
		s.hand(u, d)
	}
	s.free()
}

// show hands a stored dialogue to both users' clients.
func (s *keptSend) show(d *kv.Dialogue) {
	u, to := s.lane.lanes.User(s.to), s.lane.names.Dialogue(s.to)
	if u != nil {
		s.hand(u, d)
	}
	if s.lane.others(to, u) {
		s.frame = talk.Frame(d, s.from).Append(s.frame[:0])
		if err := s.lane.nc.PublishRequest(to, s.lane.names.Taken(s.lane.node, s.to, s.from, d.N), s.frame); err != nil {
			s.lane.log.Debug("publish a kept dialogue", "err", err) // the friend's clients read it later
		}
	}
	s.showOwn(d)
}

// hand hands a stored dialogue to the friend's sinks on this node.
func (s *keptSend) hand(u *User, d *kv.Dialogue) {
	k := Kept{With: s.from, N: d.N}
	if u.keeps() {
		s.frame = talk.Frame(d, s.from).Append(s.frame[:0])
		k.Frame = s.frame
	}
	s.second = u.kept(k, d, s.second)
}

// showOwn hands a stored dialogue to the sender's other clients.
func (s *keptSend) showOwn(d *kv.Dialogue) {
	u, notice := s.lane.lanes.User(s.from), s.lane.names.Notice(s.from)
	elsewhere := s.lane.others(notice, u)
	if s.lane.interest == nil && u != nil && s.member != nil {
		elsewhere = u.elsewhere.Load()
	}
	k := Kept{With: s.to, N: d.N, Own: true}
	if u != nil && u.keeps() {
		s.frame = talk.Frame(d, s.to).Append(s.frame[:0])
		k.Frame = s.frame
	}
	if u != nil {
		if !s.plain && d.Deletes == 0 && u.pushes() { // a flight is echoed when it is answered
			s.second = wire.AppendEcho(s.second[:0], d.ID, s.from, s.to, d.Payload)
			k.Plain = s.second
		}
		u.keptOwn(k, s.member)
	}
	if !elsewhere {
		return
	}
	s.frame = talk.Frame(d, s.to).AppendEcho(s.frame[:0])
	if err := s.lane.publishNotice(s.from, s.frame); err != nil {
		s.lane.log.Debug("echo a kept dialogue", "err", err)
	}
}

// others reports whether a subject of a user may have subscribers besides this node. u is the user's sinks on this node,
// nil for none: these have one subscription. NATS counts some of the subscriptions that match a subject, and at least one
// of them, if it has not looked the subject up lately. So a count of 1 may hide the user's NATS client, of which the node
// heard, and a subscription with a wildcard for users, which also matches the subject of no user.
func (l *lane) others(subject string, u *User) bool {
	if l.interest == nil {
		return true
	}
	n := l.interest(subject)
	if n == 0 || u == nil {
		return n > 0
	}
	return n > 1 || u.elsewhere.Load() || l.interest(l.names.Nowhere(u.id)) > 0
}

// kept hands a dialogue of a friend to the sinks on this node. It returns the scratch buffer.
func (u *User) kept(k Kept, d *kv.Dialogue, scratch []byte) []byte {
	for _, m := range u.list() {
		if !m.keep && k.Plain == nil && d.Deletes == 0 && !d.Live {
			scratch = wire.AppendDialogue(scratch[:0], d.ID, d.From, d.Payload)
			k.Plain = scratch
		}
		m.sink.Take(k)
		m.FlushSoon()
	}
	return scratch
}

// pushes reports whether a sink on this node wants notices, and does not take part in kept conversations.
func (u *User) pushes() bool {
	for _, m := range u.list() {
		if m.push && !m.keep {
			return true
		}
	}
	return false
}

// keptOwn hands a dialogue of the user to its sinks on this node. The sink that has sent it, and sinks that want no
// notices, are told its number only.
func (u *User) keptOwn(k Kept, except *Member) {
	for _, m := range u.list() {
		if m == except || !m.push { // a sink that keeps also wants notices
			m.sink.Take(Kept{With: k.With, N: k.N, Own: true})
			continue
		}
		m.sink.Take(k)
		m.FlushSoon()
	}
}

var _ talk.Done = (*keptSend)(nil)
