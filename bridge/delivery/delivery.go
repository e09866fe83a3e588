// Package delivery carries dialogues and notices between users. A dialogue is a request on the subject of the friend.
// The node that serves the friend hands it to the friend's sessions, and replies after one of them has it on its
// socket.
//
//	Member.Send ─▶ flight ─▶ NATS ─▶ lane of the friend ─▶ Sink.Deliver ─▶ on the socket
//	Sender.Answered ◀─ event log ◀─ flight ◀─ NATS ◀─ ack batch ◀─ Receipt.Settle ◀┘
package delivery

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/eventlog"
	"imctl/bridge/hook"
	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Sink is where a user takes frames: a session. Its methods must not block.
type Sink interface {
	// Deliver queues the frame of a dialogue and takes over the receipt. After an error the receipt is still the
	// caller's.
	Deliver(frame []byte, r Receipt) error
	// DeliverLive is Deliver for a dialogue of a friend that is not stored. The sink takes no dialogue that the friend sent
	// before it afterwards.
	DeliverLive(from string, frame []byte, r Receipt) error
	// Notify queues a frame that no client waits for.
	Notify(frame []byte)
	// Take takes a dialogue of a conversation that is kept. It must not keep the frames of k.
	Take(k Kept)
	// Flush writes the queued frames.
	Flush()
}

// Sender waits for the outcome of a dialogue that it sent.
type Sender interface {
	// Answered is called once, with the id that the dialogue has on the wire. It must not keep id.
	Answered(id []byte, code wire.Code, took time.Duration)
	// Kept is called instead if the dialogue was stored with number n, for a sender that is told so.
	Kept(id []byte, n uint64, at time.Time, took time.Duration)
}

// Keeper keeps conversations. talk.Service is one.
type Keeper interface {
	// Add stores a dialogue. Errors: talk.ErrStalled for a dialogue that is not Kept: the caller may still deliver it.
	Add(to string, d kv.Dialogue, done talk.Done) error
	// AddFixed is Add without talk.ErrStalled: the dialogue waits.
	AddFixed(to string, d kv.Dialogue, done talk.Done) error
	// AddLive stores a dialogue that was delivered without being stored.
	AddLive(to string, d kv.Dialogue, done talk.Done)
	// Stalled reports whether dialogues cannot be stored at the moment.
	Stalled() bool
	Got(user, with string, n uint64)
	Read(user, with string, n uint64)
	// Seen tells that another node has stored dialogue n of two users.
	Seen(user, with string, n uint64)
}

// Push sends messages to devices of users that have no client. push.Service is one.
type Push interface {
	// Stored is called when a dialogue for user is stored, which the other user has sent. payload is its JSON text, valid
	// during the call. online reports whether the user may have a client. It must not block.
	Stored(user, with string, n uint64, payload []byte, online bool)
}

// Options configure Lanes.
type Options struct {
	Lanes   int // number of lanes; 0: one for each processor
	Prefix  subject.Prefix
	Node    string        // id of this node
	Timeout time.Duration // of a dialogue: without an answer by then, 507
	// MaxFrame is the size of the largest dialogue that sessions take, in bytes; 0: no limit.
	MaxFrame int
	// MaxInFlight returns how many bytes of dialogues may be in flight, for all senders of this node together. 0: no limit.
	// nil: there is none.
	MaxInFlight func() int
	// Connect opens a connection to NATS. It keeps reconnecting while NATS is unreachable.
	Connect natsutil.Connect
	Notices *Notices
	Log     *eventlog.Log // nil: none
	Keeper  Keeper        // nil: conversations are not kept
	// Interest returns how many subscriptions match a subject. nil: unknown.
	Interest func(subject string) int
	// Covered reports whether a listener covers the subjects of users, so that NATS does not tell which user is offline.
	// Suspect is called when a user that looked online did not answer. nil: there is no listener.
	Covered func() bool
	Suspect func()
	// Fresh reports whether the rosters in memory are up to date. While they are not, dialogues are refused.
	Fresh func() bool
	// Receipts lets friends see what a user has read, and that it is typing.
	Receipts bool
	// Push is told of stored dialogues; nil: nothing is.
	Push Push
	// Hooks ask moderators about dialogues; nil: no dialogue is moderated.
	Hooks *hook.Service
	// Alone reports whether no other node serves users.
	Alone   func() bool
	Metrics *Metrics
	Logger  *slog.Logger
}

// Lanes deliver to the users of this node. A user belongs to one lane, by a hash of its id.
type Lanes struct {
	lanes    []*lane
	notices  *Notices
	seed     maphash.Seed
	offlines *offlines                        // nil: there is no event log
	inboxes  atomic.Pointer[map[string]*lane] // the lanes by the inboxes of their flights; nil: not yet
}

// New connects the lanes to NATS and starts them.
func New(opts Options) (*Lanes, error) {
	if opts.Lanes <= 0 {
		opts.Lanes = runtime.GOMAXPROCS(0)
	}
	l := &Lanes{notices: opts.Notices, seed: maphash.MakeSeed()}
	for i := range opts.Lanes {
		nc, err := opts.Connect(fmt.Sprintf("imctl lane %d", i), nats.ReconnectBufSize(-1))
		if err == nil {
			var made *lane
			if made, err = newLane(nc, l, opts); err == nil {
				l.lanes = append(l.lanes, made)
				continue
			}
			nc.Close()
		}
		l.Close()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	l.noteInboxes()
	l.offlines = newOfflines(l, opts)
	if opts.Keeper != nil {
		if err := l.takeAcks(opts); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// Close ends the lanes. Dialogues in flight are answered with 507.
func (l *Lanes) Close() {
	l.offlines.close()
	for _, lane := range l.lanes {
		lane.close()
	}
}

// of returns the lane of a user.
func (l *Lanes) of(user string) *lane {
	return l.lanes[maphash.String(l.seed, user)%uint64(len(l.lanes))]
}

// Join adds a member to a user, and returns once NATS knows that the user is online on this node. The roster is in
// force before the first dialogue arrives. first reports whether the member is the user's only one on this node.
func (l *Lanes) Join(ctx context.Context, user string, m *Member, r kv.Roster, revision uint64) (first bool, err error) {
	return l.of(user).join(ctx, user, m, r, revision)
}

// Send sends a dialogue from a user that is a NATS client, and whose relation to the friend lets it. After an error the
// sender is not answered.
func (l *Lanes) Send(from, to string, with Relation, id, payload []byte, s Sender) error {
	lane, d := l.of(from), kv.Dialogue{From: from, ID: id, Payload: payload}
	if moderated, err := lane.moderateClient(from, to, with, &d, false, s); moderated {
		return err
	}
	return lane.sendClient(to, with, &d, time.Time{}, s)
}

// sendClient sends a dialogue of a NATS client. started is when the client sent it; zero: now.
func (l *lane) sendClient(to string, with Relation, d *kv.Dialogue, started time.Time, s Sender) error {
	on := l.names.Dialogue(to)
	if with.BlockedBy {
		on = l.names.Nowhere(to)
	}
	return l.send(d.From, to, on, d.ID, d.Payload, nil, started, s)
}

// User returns the user with that id, or nil if it has no session on this node.
func (l *Lanes) User(id string) *User { return l.of(id).user(id) }

// Users returns the users with a session on this node.
func (l *Lanes) Users() (all []*User) {
	for _, lane := range l.lanes {
		all = append(all, lane.all()...)
	}
	return all
}

// Len returns the number of users with a session on this node.
func (l *Lanes) Len() (n int) {
	for _, lane := range l.lanes {
		n += lane.len()
	}
	return n
}

// Online reports which users are online, on this node or another, in the order of their ids.
func (l *Lanes) Online(ctx context.Context, ids ...string) ([]bool, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return l.of(ids[0]).flights.online(ctx, ids)
}

// Taken reports whether a client takes a user's dialogues, on this node or another. Other than for Online, the client
// need not answer.
func (l *Lanes) Taken(ctx context.Context, user string) (bool, error) {
	codes, err := l.of(user).flights.ask(ctx, []string{user})
	return err == nil && codes[0] != wire.PeerOffline, err
}

// Gather delays the flush of frames, so that they leave together, until the caller calls end.
func (l *Lanes) Gather() (end func()) {
	for _, lane := range l.lanes {
		lane.beginBatch()
	}
	return func() {
		for _, lane := range l.lanes {
			lane.endBatch()
		}
	}
}

// Abort answers all dialogues in flight on a connection with 507: their replies are lost. nil means all connections.
func (l *Lanes) Abort(nc *nats.Conn) {
	for _, lane := range l.lanes {
		if nc == nil || lane.nc == nc {
			lane.flights.abort()
		}
	}
}

// Back tells that the connections to NATS are back. Other nodes and NATS clients may have lost theirs as well, and
// return later. So for returnTime a dialogue that no client takes is answered 507, and not 508.
func (l *Lanes) Back() {
	for _, lane := range l.lanes {
		lane.flights.setBack(time.Now())
		lane.askAgain()
	}
}

// RefreshPresence shows the sessions that want notices which of their friends are online.
func (l *Lanes) RefreshPresence(ctx context.Context) error {
	for _, lane := range l.lanes {
		if err := lane.refreshPresence(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Connected returns an error unless all lanes are connected to NATS.
func (l *Lanes) Connected() error {
	for _, lane := range l.lanes {
		if !lane.nc.IsConnected() {
			return errors.New("NATS is unreachable")
		}
	}
	return nil
}

// Notices publishes frames that users' clients should see at once.
type Notices struct {
	nc     *nats.Conn
	prefix subject.Prefix
}

// NewNotices returns notices that are published on nc.
func NewNotices(nc *nats.Conn, prefix subject.Prefix) *Notices { return &Notices{nc, prefix} }

// Notify sends a frame to all clients of a user, on all nodes.
func (n *Notices) Notify(user string, frame []byte) error {
	return n.nc.Publish(n.prefix.Notice(user), frame)
}
