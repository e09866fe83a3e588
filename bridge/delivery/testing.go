package delivery

import (
	"github.com/nats-io/nats.go"

	"imctl/kv"
)

// Injector takes the place of NATS in tests and benchmarks of other packages: it hands messages to a lane without a
// server.
type Injector struct {
	lane   *lane
	ack    nats.Msg
	reply  []byte
	tokens []byte
}

// Inject returns an injector for the lane of a user.
func (l *Lanes) Inject(user string) *Injector {
	i := &Injector{lane: l.of(user)}
	i.ack.Subject = i.lane.flights.inbox + batchToken
	return i
}

// JoinOffline adds a member to a user without a subscription, and returns the injector for the user's lane. NATS's
// client uses timers that testing/synctest does not allow.
func (l *Lanes) JoinOffline(user string, m *Member, r kv.Roster) *Injector {
	i := l.Inject(user)
	u := newUser(user, i.lane)
	u.LoadRoster(r, 1)
	m.user = u
	u.add(m)
	i.lane.mu.Lock()
	defer i.lane.mu.Unlock()
	i.lane.users[user] = u
	return i
}

// Reply returns a reply subject as a lane of another node would use it.
func (i *Injector) Reply() string {
	return "_INBOX.0123456789abcdefghijkl" + laneMark + "0123456789abcdef"
}

// Handle has the lane handle messages as one batch.
func (i *Injector) Handle(messages ...*nats.Msg) {
	i.lane.beginBatch()
	i.lane.acks.begin()
	for _, m := range messages {
		i.lane.handle(m)
	}
	i.lane.endBatch()
	i.lane.published(i.lane.acks.end())
}

// Acknowledge acknowledges all dialogues in flight, as the friends' lanes would.
func (i *Injector) Acknowledge() {
	f := i.lane.flights
	i.tokens = i.tokens[:0]
	f.mu.Lock()
	for n, slot := range f.slots {
		if slot.flight != nil {
			i.reply = f.appendReply(i.reply[:0], uint32(n), slot.round)
			i.tokens = append(i.tokens, i.reply[len(f.inbox):]...)
		}
	}
	f.mu.Unlock()
	i.ack.Data = i.tokens
	i.lane.handle(&i.ack)
}

// InFlight returns the number of dialogues in flight.
func (i *Injector) InFlight() int {
	i.lane.flights.mu.Lock()
	defer i.lane.flights.mu.Unlock()
	return i.lane.flights.active
}

// Receipt returns a receipt, and a function that reports whether it was settled as delivered.
func (i *Injector) Receipt() (Receipt, func() bool) {
	f := &fanout{reply: "reply"}
	f.pending.Store(1)
	return Receipt{lane: i.lane, fanout: f}, f.acknowledged.Load
}

// Waiting returns for each lane how many NATS clients have dialogues that wait for moderators.
func (l *Lanes) Waiting() (all []int) {
	for _, lane := range l.lanes {
		all = append(all, int(lane.hookedClients.count.Load()))
	}
	return all
}
