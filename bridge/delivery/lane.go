package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/hook"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// queueSize bounds the messages from NATS that wait for a lane. The NATS client drops further ones, and their senders
// get 507 after the timeout. The bound limits the memory of an overload.
const queueSize = 64 << 10

// lane is a connection to NATS and the users whose ids hash to it. One goroutine handles the messages for these users,
// so the dialogues of one sender to one friend keep their order, and the replies to what their sessions sent. It
// handles the waiting messages as one batch, and flushes the sinks at the end of the batch: frames that arrive together
// leave together.
type lane struct {
	nc        *nats.Conn
	names     subject.Prefix
	node      string
	fresh     func() bool
	maxFrame  int // 0: no limit
	notices   *Notices
	metrics   *Metrics
	log       *slog.Logger
	in        chan *nats.Msg
	lanes     *Lanes
	keeper    Keeper      // nil: conversations are not kept
	hooks     *hook.Asker // nil: no dialogue is moderated
	push      Push        // nil: none
	receipts  bool
	interest  func(subject string) int // nil: unknown
	flights   *flights
	acks      ackBatch
	announcer *announcer
	wg        sync.WaitGroup

	posting sync.RWMutex // guards closed, and is held while a goroutine of this process writes to in
	closed  bool

	mu       sync.RWMutex // guards users and expected
	users    map[string]*User
	expected map[string]*expectation

	batch   sync.Mutex // guards the fields below, and Member.dirty
	working int        // goroutines between beginBatch and endBatch: the lane, and the event log
	dirty   []*Member  // to be flushed
	spare   []*Member  // an earlier list, kept for its memory

	hookedBytes   atomic.Int64 // of dialogues that wait for moderators
	hookedClients hookedClients

	scratch []byte // for frames; used by run only
	epochs  epochs // used by run only
}

// maxBatchMessages is the number of messages after which the lane flushes although more are waiting.
const maxBatchMessages = 64

func newLane(nc *nats.Conn, lanes *Lanes, opts Options) (*lane, error) {
	l := &lane{nc: nc, lanes: lanes, keeper: opts.Keeper, push: opts.Push, receipts: opts.Receipts, interest: opts.Interest, names: opts.Prefix, node: opts.Node, fresh: opts.Fresh, maxFrame: opts.MaxFrame, notices: opts.Notices, metrics: opts.Metrics,
		log: opts.Logger, in: make(chan *nats.Msg, queueSize), users: make(map[string]*User), expected: make(map[string]*expectation)}
	l.acks.nc, l.acks.lanes = nc, lanes
	if opts.Notices != nil {
		l.acks.late = opts.Notices.nc
	}
	l.flights = newFlights(nc, opts.Timeout, opts.Alone)
	if opts.MaxInFlight != nil {
		l.flights.most = func() int { return opts.MaxInFlight() / opts.Lanes }
	}
	if opts.Covered != nil {
		l.flights.covered, l.flights.suspect = opts.Covered, opts.Suspect
	}
	l.flights.names, l.flights.log, l.flights.keeper, l.flights.echo = opts.Prefix, opts.Log, opts.Keeper, l.echo
	if err := l.flights.subscribe(l.in); err != nil {
		return nil, err
	}
	if opts.Hooks != nil {
		l.hooks = opts.Hooks.NewAsker(nc)
		if _, err := nc.ChanSubscribe(l.hooks.Filter(), l.in); err != nil {
			return nil, err
		}
	}
	var log presenceLog
	if opts.Log != nil {
		log = opts.Log
	}
	l.announcer = newAnnouncer(l, opts.Alone, log)
	l.wg.Go(l.run)
	return l, nil
}

// close ends the lane's goroutines after its connection has delivered the last message.
func (l *lane) close() {
	l.announcer.close()
	if l.hooks != nil {
		l.hooks.Close()
	}
	l.nc.Close()
	l.flights.close()
	l.closeIn()
	l.wg.Wait()
}

// join is Lanes.Join.
func (l *lane) join(ctx context.Context, id string, m *Member, r kv.Roster, revision uint64) (first bool, err error) {
	l.mu.Lock()
	u := l.users[id]
	if first = u == nil; first {
		u = newUser(id, l)
		u.LoadRoster(r, revision)
		l.expected[id].applyTo(u)
		if u.sub, err = l.nc.ChanSubscribe(l.names.Live(id), l.in); err != nil {
			l.mu.Unlock()
			return false, fmt.Errorf("subscribe for user %s: %w", id, err)
		}
		l.users[id] = u
	}
	m.user = u
	u.add(m)
	l.mu.Unlock()
	started := time.Now()
	if err := l.nc.FlushWithContext(ctx); err != nil {
		l.leave(m)
		return false, fmt.Errorf("subscribe for user %s: %w", id, err)
	}
	l.metrics.roundTrip.Observe(time.Since(started).Seconds())
	return first, nil
}

// leave is Member.Leave.
func (l *lane) leave(m *Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := m.user
	if !u.remove(m) || l.users[u.id] != u {
		return
	}
	delete(l.users, u.id)
	l.announcer.add(&announcement{user: u.id, friends: u.visible()})
	u.refuseAwaited()
	// Drain, so that messages which NATS has sent already reach handle, which refuses them. Their senders would
	// otherwise wait for the timeout. While NATS is unreachable no message comes, and the NATS client would subscribe
	// again, for good, to a draining subscription when NATS is back.
	end := u.sub.Drain
	if !l.nc.IsConnected() {
		end = u.sub.Unsubscribe
	}
	if err := end(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		l.log.Error("unsubscribe", "user", u.id, "err", err)
	}
}

// notice shows a notice to the sinks that want it: news of a kept conversation only to those that take part in it.
func (l *lane) notice(u *User, m *nats.Msg) {
	frame := m.Data
	if l.keeper == nil {
		u.Notify(frame)
		return
	}
	if d, ok := wire.ParseKept(frame); ok {
		l.ownElsewhere(u, &d)
		return
	}
	if n, ok := wire.ParseNotice(frame); ok && keptNews(n) {
		u.notifyKeep(frame)
		return
	}
	if isLive(m) {
		u.notifyPlain(frame)
		return
	}
	u.Notify(frame)
}

func (l *lane) user(id string) *User {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.users[id]
}

func (l *lane) all() []*User {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Collect(maps.Values(l.users))
}

func (l *lane) len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.users)
}

// send sends a dialogue on the friend's subject. member is nil for a NATS client. started is when the sender sent it;
// zero: now.
func (l *lane) send(from, to, on string, id, payload []byte, member *Member, started time.Time, s Sender) error {
	fl := l.flights.take(s)
	fl.from, fl.to, fl.member, fl.subject, fl.started = from, to, member, on, started
	fl.id = append(fl.id, id...)
	fl.data = wire.AppendDialogue(fl.data, id, from, payload)
	return l.flights.launch(fl)
}

// run handles the messages for the lane's users, in order.
func (l *lane) run() {
	for m := range l.in {
		l.beginBatch()
		l.acks.begin()
		l.handle(m)
		for n := 1; n < maxBatchMessages && l.waiting(); n++ {
			if m, ok := <-l.in; ok {
				l.handle(m)
			}
		}
		l.endBatch()
		l.published(l.acks.end())
	}
}

// waiting reports whether more messages wait. If none does, it first lets other goroutines run, which may bring some.
// With no other goroutine to run the lane goes on at once, and under load it does more with each write.
func (l *lane) waiting() bool {
	if len(l.in) == 0 {
		runtime.Gosched()
	}
	return len(l.in) > 0
}

// flushSoon is Member.FlushSoon.
func (l *lane) flushSoon(m *Member) {
	l.batch.Lock()
	if l.working == 0 {
		l.batch.Unlock()
		m.sink.Flush()
		return
	}
	if !m.dirty {
		m.dirty = true
		l.dirty = append(l.dirty, m)
	}
	l.batch.Unlock()
}

// beginBatch delays flushes until endBatch.
func (l *lane) beginBatch() {
	l.batch.Lock()
	l.working++
	l.batch.Unlock()
}

// endBatch flushes the sinks to which frames were added.
func (l *lane) endBatch() {
	l.batch.Lock()
	l.working--
	dirty := l.dirty
	l.dirty, l.spare = l.spare[:0], nil
	for _, m := range dirty {
		m.dirty = false
	}
	l.batch.Unlock()
	for i, m := range dirty {
		dirty[i] = nil
		m.sink.Flush()
	}
	l.batch.Lock()
	l.spare = dirty
	l.batch.Unlock()
}

func (l *lane) handle(m *nats.Msg) {
	defer l.recover(m)
	if strings.HasPrefix(m.Subject, l.flights.inbox) {
		l.flights.receive(m)
		return
	}
	if l.hooks != nil && l.hooks.IsAnswer(m.Subject) {
		l.hooks.Receive(m)
		return
	}
	id, leaf := l.names.ParseLive(m.Subject)
	if leaf == subject.Unknown {
		return
	}
	u := l.user(id)
	switch {
	case u == nil && leaf == subject.Dialogue:
		l.reply(m.Reply, left) // the last session has left while the message was on its way
	case u == nil:
	case leaf == subject.Dialogue:
		l.dialogue(u, m)
	case leaf == subject.Notice:
		if m.Header.Get(nodeHeader) != l.node {
			l.notice(u, m)
		}
	case leaf == subject.Stored:
		l.storedElsewhere(u, m)
	}
}

// recover, deferred, keeps a panic over one message from ending the lane.
func (l *lane) recover(m *nats.Msg) {
	if p := recover(); p != nil {
		defer recovery.Log(l.log, "message on "+m.Subject)
		panic(p)
	}
}

// dialogue hands a dialogue to every sink of the user, or refuses it.
func (l *lane) dialogue(u *User, m *nats.Msg) {
	if isProbe(m.Data) {
		l.acknowledge(m.Reply)
		return
	}
	outdated := l.epochs.outdated(m.Reply)
	if l.keeper != nil {
		if d, ok := wire.ParseKept(m.Data); ok { // its number tells its place
			l.keptElsewhere(u, m, &d)
			return
		}
	}
	// A session or a user cannot send a larger one, but other programs on NATS can.
	if l.maxFrame > 0 && len(m.Data) > l.maxFrame {
		l.log.Debug("dialogue too large", "subject", m.Subject, "bytes", len(m.Data))
		l.reply(m.Reply, refused)
		return
	}
	d, ok := wire.ParseDialogue(m.Data)
	switch {
	case !ok:
		l.log.Warn("malformed dialogue", "subject", m.Subject, "bytes", len(m.Data))
		l.reply(m.Reply, refused)
		return
	case !l.fresh(), outdated:
		l.reply(m.Reply, refused)
		return
	}
	switch from := u.relation(d.From); {
	case !from.Friend, from.BlockedBy: // the one who blocks may not send either
		l.reply(m.Reply, notFriends)
		return
	case from.Blocked:
		l.reply(m.Reply, left)
		return
	}
	members, nobody := u.list(), left
	live := ""
	if l.keeper != nil && isLive(m) && len(members) > 0 {
		members, nobody, live = withoutKeepers(members), keepsOnlyReply, string(d.From)
	}
	r := Receipt{lane: l, reply: m.Reply}
	switch len(members) {
	case 0:
		l.reply(m.Reply, nobody)
		return
	case 1:
	default:
		r.fanout = &fanout{reply: m.Reply}
		r.fanout.pending.Store(int32(len(members)))
	}
	for _, to := range members {
		if err := to.deliver(live, m.Data, r); err != nil {
			r.Settle(false)
			continue
		}
		l.flushSoon(to)
	}
}

// reply replies to a message from NATS, if it asks for a reply.
func (l *lane) reply(to string, data []byte) {
	if to == "" {
		return
	}
	if inbox, _, ok := splitReply(to); ok && l.acks.post(inbox, to, data) {
		return
	}
	l.published(l.acks.publish(to, data))
}

// acknowledge replies that a dialogue was delivered. The reply leaves at the end of the batch, or with
// Member.FlushAcks.
func (l *lane) acknowledge(reply string) {
	if !l.acks.add(reply) {
		l.reply(reply, nil)
	}
}

// published logs an error of a reply. While NATS is unreachable, no sender waits for one.
func (l *lane) published(err error) {
	if err != nil && l.nc.IsConnected() {
		l.log.Error("reply", "err", err)
	}
}
