package delivery

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// An acknowledgement says that a client of a user has all dialogues of a conversation up to a number. It comes from a
// session that has a dialogue on its socket or acknowledges it by a frame, or from a NATS client that replies to one.

// Got notes that a client has the dialogues with a friend up to n.
func (m *Member) Got(with string, n uint64) {
	u := m.user
	u.acknowledged(with, n)
	u.lane.keeper.Got(u.id, with, n)
}

// Read notes that the user has read the dialogues with a friend up to n.
func (m *Member) Read(with string, n uint64) {
	u := m.user
	u.acknowledged(with, n)
	u.lane.keeper.Read(u.id, with, n)
}

// Typing shows a friend that the user is typing.
func (m *Member) Typing(with string) {
	u := m.user
	if r := u.relation([]byte(with)); u.lane.receipts && r.MaySend() && !r.Hidden() {
		u.lane.tell(with, func() []byte { return wire.AppendTyping(nil, u.id) })
	}
}

// Advanced tells both users' clients how far the user has come in a conversation. got and read are 0 if they did not
// change.
func (l *Lanes) Advanced(user, with string, got, read uint64) {
	lane := l.of(user)
	hidden := lane.hidden(user, with)
	if got > 0 && !hidden {
		lane.tell(with, func() []byte { return wire.AppendDelivered(nil, user, got) })
	}
	if read == 0 {
		return
	}
	if lane.receipts && !hidden {
		lane.tell(with, func() []byte { return wire.AppendRead(nil, user, read, false) })
	}
	lane.tell(user, func() []byte { return wire.AppendRead(nil, with, read, true) })
}

// Marked tells a user's clients that the user has changed the marks of a conversation.
func (l *Lanes) Marked(user, with string, m kv.Marks) {
	l.of(user).tell(user, func() []byte { return wire.AppendMarked(nil, with, m.Pinned(), m.Archived(), m.Muted()) })
}

// hidden reports whether one of two users blocks the other, as far as this node knows.
func (l *lane) hidden(user, with string) bool {
	u := l.lanes.User(user)
	return u != nil && u.relation([]byte(with)).Hidden()
}

// tell sends news of kept conversations to a user's clients that take part in them, on all nodes. It composes the frame
// only if there may be one.
func (l *lane) tell(user string, compose func() []byte) {
	u := l.lanes.User(user)
	elsewhere := u == nil || u.elsewhere.Load()
	if l.interest != nil {
		elsewhere = l.others(l.names.Notice(user), u)
	}
	if !elsewhere && (u == nil || !u.keeps()) {
		return
	}
	frame := compose()
	if u != nil {
		u.notifyKeep(frame)
	}
	if elsewhere {
		if err := l.publishNotice(user, frame); err != nil {
			l.log.Debug("publish news of a conversation", "user", user, "err", err) // the next login shows it
		}
	}
}

// keeps reports whether a sink on this node takes part in kept conversations.
func (u *User) keeps() bool {
	for _, m := range u.list() {
		if m.keep {
			return true
		}
	}
	return false
}

// publishNotice publishes a notice for the clients of a user elsewhere: those on this node have it.
func (l *lane) publishNotice(user string, frame []byte) error {
	return l.nc.PublishMsg(&nats.Msg{Subject: l.names.Notice(user), Header: nats.Header{nodeHeader: {l.node}}, Data: frame})
}

// takeAcks takes the replies of NATS clients to kept dialogues. The other lanes publish the dialogues on connections of
// their own. So takeAcks returns once NATS has the subscription: an earlier reply would be lost.
func (l *Lanes) takeAcks(opts Options) error {
	nc := l.lanes[0].nc
	_, err := nc.QueueSubscribe(opts.Prefix.TakenAny(), subject.QueueGroup, func(m *nats.Msg) {
		user, with, n, ok := opts.Prefix.ParseTaken(m.Subject)
		if ok && replyCode(m) == wire.Success && kv.ValidID(user) && kv.ValidID(with) {
			opts.Keeper.Got(user, with, n)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		return fmt.Errorf("take acknowledgements: %w", err)
	}
	return nil
}

// keptNews reports whether a notice is for clients that take part in kept conversations.
func keptNews(n wire.Notice) bool {
	return n.Code == wire.DialogueDelivered || n.Code == wire.DialogueRead || n.Code == wire.FriendTyping || n.Code == wire.Marked
}

// keptElsewhere hands a kept dialogue from another node to the user's sinks.
func (l *lane) keptElsewhere(u *User, m *nats.Msg, d *wire.KeptDialogue) {
	if l.ownReply(m.Reply) {
		return // this node has shown it when it was stored
	}
	from := string(d.From)
	l.keeper.Seen(u.id, from, d.N)
	if len(u.list()) == 0 {
		if _, _, isFlight := splitReply(m.Reply); isFlight {
			l.reply(m.Reply, left)
		}
		return
	}
	if _, _, isFlight := splitReply(m.Reply); isFlight {
		u.await(awaitedReply{with: from, n: d.N, reply: m.Reply})
	}
	stored := kv.Dialogue{N: d.N, From: from, ID: d.ID, Payload: d.Payload, Deletes: d.Deletes}
	l.scratch = u.kept(Kept{With: from, N: d.N, Frame: m.Data}, &stored, l.scratch)
}

// ownElsewhere hands a dialogue that the user has sent on another node to its sinks.
func (l *lane) ownElsewhere(u *User, d *wire.KeptDialogue) {
	with := string(d.With)
	l.scratch = d.Append(l.scratch[:0])
	k := Kept{With: with, N: d.N, Own: true, Frame: l.scratch}
	if d.Deletes == 0 {
		k.Plain = wire.AppendEcho(nil, d.ID, u.id, with, d.Payload)
	}
	u.keptOwn(k, nil)
}

// ownReply reports whether a kept dialogue with this reply subject was sent by this node.
func (l *lane) ownReply(reply string) bool {
	if l.names.IsTaken(reply, l.node) {
		return true
	}
	for _, other := range l.lanes.lanes {
		if f := other.flights.inbox; len(reply) > len(f) && reply[:len(f)] == f {
			return true
		}
	}
	return false
}

// awaited are the senders that wait until a client of the user has a dialogue.
type awaited struct {
	mu      sync.Mutex
	replies []awaitedReply    // in the order in which they came
	acked   map[string]uint64 // how far the conversations are acknowledged, as far as remembered
	left    bool              // the last sink of the user has left
}

// awaitedReply is one of them: a flight of this node, or one of another node, which has a reply subject.
type awaitedReply struct {
	with    string
	n       uint64
	reply   string
	flights *flights
	use     use
	since   time.Time
}

// maxAwaited bounds the senders that wait for one user. Further ones are answered after their timeout.
const maxAwaited = 8 << 10

// maxAcked bounds the conversations of a user of which acknowledgements are remembered. A session may have a dialogue
// from the store before its sender begins to wait. The memory is for this moment, so it may be lost now and then.
const maxAcked = 1 << 10

func (u *User) await(r awaitedReply) {
	r.since = time.Now()
	a := &u.awaiting
	a.mu.Lock()
	if acked := a.acked[r.with] >= r.n; acked || a.left { // acknowledged before the sender began to wait
		a.mu.Unlock()
		r.settle(u.lane, acked)
		return
	}
	defer a.mu.Unlock()
	timeout := u.lane.flights.timeout
	for len(a.replies) > 0 && r.since.Sub(a.replies[0].since) > timeout {
		a.replies = a.replies[1:]
	}
	if len(a.replies) < maxAwaited {
		a.replies = append(a.replies, r)
	}
}

// acknowledged answers the senders of the dialogues with a friend up to n.
func (u *User) acknowledged(with string, n uint64) {
	a := &u.awaiting
	a.mu.Lock()
	if a.acked == nil || len(a.acked) >= maxAcked {
		a.acked = make(map[string]uint64)
	}
	a.acked[with] = max(a.acked[with], n)
	var room [16]awaitedReply // most calls find few, and do not allocate
	taken, rest := room[:0], a.replies[:0]
	for _, r := range a.replies {
		if r.with == with && r.n <= n {
			taken = append(taken, r)
		} else {
			rest = append(rest, r)
		}
	}
	clear(a.replies[len(rest):])
	a.replies = rest
	a.mu.Unlock()
	if len(taken) == 0 {
		return
	}
	end := u.lane.lanes.Gather() // the answers leave together
	defer end()
	for _, r := range taken {
		r.settle(u.lane, true)
	}
}

// refuseAwaited answers the senders that still wait when the last sink of the user has left.
func (u *User) refuseAwaited() {
	a := &u.awaiting
	a.mu.Lock()
	refused := a.replies
	a.replies, a.left = nil, true
	a.mu.Unlock()
	for _, r := range refused {
		r.settle(u.lane, false)
	}
}

// refuseAwaitedOf answers the senders that wait in one conversation.
func (u *User) refuseAwaitedOf(with string) {
	a := &u.awaiting
	a.mu.Lock()
	var refused []awaitedReply
	a.replies = slices.DeleteFunc(a.replies, func(r awaitedReply) bool {
		if r.with == with {
			refused = append(refused, r)
		}
		return r.with == with
	})
	a.mu.Unlock()
	for _, r := range refused {
		r.settle(u.lane, false)
	}
}

func (r awaitedReply) settle(l *lane, delivered bool) {
	switch {
	case r.flights != nil && delivered:
		r.flights.finish(r.use.n, r.use.round, wire.Success)
	case r.flights != nil:
		r.flights.refused(r.use.n, r.use.round, wire.PeerOffline)
	case delivered:
		l.acknowledge(r.reply)
	default:
		l.reply(r.reply, left)
	}
}
