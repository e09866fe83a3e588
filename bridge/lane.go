package bridge

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

	"imctl/bridge/wire"
	"imctl/kv"
)

// laneQueue is how many messages from NATS may wait for a lane. What does not fit is dropped by the client library, and
// its sender hears 507 when its time is up; the bound is there so that an overload costs memory that is known.
const laneQueue = 64 << 10

// Leaves of a user's live subjects, im.user.<id>.<leaf>.
const (
	leafDialogue = "dialogue"
	leafNotice   = "notice"
)

// lane is a connection to NATS and the users whose ids hash to it. One goroutine takes what arrives for these users, so
// the dialogues of one sender to one friend keep their order, and the answers to what their sessions sent. It works
// through what is there, and flushes the connections that it added frames to when nothing is left: frames that
// arrive together leave together.
type lane struct {
	nc      *nats.Conn
	log     *slog.Logger
	metrics *metrics
	certain *atomic.Bool // the bridge's
	prefix  string       // of the users' live subjects: "im.user."
	node    string       // this one's id
	in      chan *nats.Msg
	flights *flights
	takings takings
	news    *announcer
	wg      sync.WaitGroup

	mu    sync.RWMutex
	users map[string]*user // online here; guarded by mu

	batch   sync.Mutex    // guards what follows, and dirty of the connections
	working int           // who will flush: the lane, before it rests, and the log
	dirty   []*tunnelConn // to be flushed
	spare   []*tunnelConn // an earlier list, for its memory
}

// batchMost is after how many messages the lane flushes although more are waiting.
const batchMost = 64

func newLane(nc *nats.Conn, b *Bridge) (*lane, error) {
	l := &lane{nc: nc, log: b.log, metrics: b.metrics, certain: &b.certain, prefix: b.o.Prefix + ".user.", node: b.node.ID,
		in: make(chan *nats.Msg, laneQueue), users: make(map[string]*user)}
	l.takings.nc = nc
	l.flights = newFlights(nc, b.o.Dialogues.Timeout, &b.service.nodes.alone)
	l.flights.log = b.events
	if err := l.flights.subscribe(l.in); err != nil {
		return nil, err
	}
	l.news = newAnnouncer(b.service, l)
	l.wg.Go(l.run)
	return l, nil
}

// close ends the lane's goroutines once its connection delivers nothing any more.
func (l *lane) close() {
	l.news.close()
	l.nc.Close()
	l.flights.close()
	close(l.in)
	l.wg.Wait()
}

// join makes the session one of its user's and returns once NATS knows that the user is online here. The roster is in
// force before the first dialogue can arrive. It reports whether the session is the only one of its user here.
func (l *lane) join(ctx context.Context, id string, s *session, r kv.Roster, revision uint64) (first bool, err error) {
	l.mu.Lock()
	u := l.users[id]
	if first = u == nil; first {
		u = newUser(id, l)
		u.load(r, revision)
		if u.sub, err = l.nc.ChanSubscribe(l.prefix+id+".*", l.in); err != nil {
			l.mu.Unlock()
			return false, fmt.Errorf("subscribe for user %s: %w", id, err)
		}
		l.users[id] = u
	}
	s.user = u
	u.add(s)
	l.mu.Unlock()
	started := time.Now()
	if err := l.nc.FlushWithContext(ctx); err != nil {
		l.leave(s)
		return false, fmt.Errorf("make user %s known to NATS: %w", id, err)
	}
	l.metrics.roundTrip.Observe(time.Since(started).Seconds())
	return first, nil
}

// leave takes the session from its user; with the last one the user is offline here.
func (l *lane) leave(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := s.user
	if !u.remove(s) || l.users[u.id] != u {
		return
	}
	delete(l.users, u.id)
	l.news.add(announcement{user: u.id, friends: u.friendIDs()})
	// Drained, not dropped: what NATS has sent already still reaches handle, which refuses it. Its sender would
	// otherwise wait for an answer until its time is up. While NATS is away nothing comes any more, and the client
	// library would subscribe again, for good, to what is being drained when NATS is back.
	end := u.sub.Drain
	if !l.nc.IsConnected() {
		end = u.sub.Unsubscribe
	}
	if err := end(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		l.log.Error("unsubscribe", "user", u.id, "err", err)
	}
}

func (l *lane) user(id string) *user {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.users[id]
}

// all lists the users who are online here.
func (l *lane) all() []*user {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Collect(maps.Values(l.users))
}

func (l *lane) len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.users)
}

// run takes what NATS brings for the lane's users, in order.
func (l *lane) run() {
	for m := range l.in {
		l.begin()
		l.takings.begin()
		l.handle(m)
		for n := 1; n < batchMost && l.waiting(); n++ {
			if m, ok := <-l.in; ok {
				l.handle(m)
			}
		}
		l.end()
		l.sent(l.takings.end())
	}
}

// waiting tells whether more is there. Where nothing is, others who are ready to run go first: they may bring some. A
// lane with nothing else beside it goes on at once, and where there is much to do, more is done with each write.
func (l *lane) waiting() bool {
	if len(l.in) == 0 {
		runtime.Gosched()
	}
	return len(l.in) > 0
}

// flushSoon has a connection flushed: by who is at work, when it has worked through what is there, or at once while
// nobody is.
func (l *lane) flushSoon(c *tunnelConn) {
	l.batch.Lock()
	if l.working == 0 {
		l.batch.Unlock()
		c.flush()
		return
	}
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
	l.batch.Unlock()
}

// begin says that the caller is at work, and will call end.
func (l *lane) begin() {
	l.batch.Lock()
	l.working++
	l.batch.Unlock()
}

// end flushes what frames were added to.
func (l *lane) end() {
	l.batch.Lock()
	l.working--
	dirty := l.dirty
	l.dirty, l.spare = l.spare[:0], nil
	for _, c := range dirty {
		c.dirty = false
	}
	l.batch.Unlock()
	for i, c := range dirty {
		dirty[i] = nil
		c.flush()
	}
	l.batch.Lock()
	l.spare = dirty
	l.batch.Unlock()
}

func (l *lane) handle(m *nats.Msg) {
	defer l.recovered(m)
	if strings.HasPrefix(m.Subject, l.flights.inbox) {
		l.flights.reply(m)
		return
	}
	id, leaf, ok := strings.Cut(m.Subject[len(l.prefix):], ".")
	if !ok {
		return
	}
	u := l.user(id)
	if u == nil {
		// The last session left while this was on its way.
		if leaf == leafDialogue {
			l.answer(m.Reply, gone)
		}
		return
	}
	switch leaf {
	case leafDialogue:
		l.dialogue(u, m)
	case leafNotice:
		if m.Header.Get(headerNode) != l.node {
			u.notice(m.Data)
		}
	}
}

// recovered, deferred, keeps one message from ending the lane.
func (l *lane) recovered(m *nats.Msg) {
	if p := recover(); p != nil {
		defer recovered(l.log, "message on "+m.Subject)
		panic(p)
	}
}

// dialogue hands a dialogue to every session of the user, or answers that it may not have it.
func (l *lane) dialogue(u *user, m *nats.Msg) {
	if isProbe(m.Data) { // somebody asks whether the user is there
		l.taken(m.Reply)
		return
	}
	d, ok := wire.ParseDialogue(m.Data)
	if !ok {
		l.log.Warn("not a dialogue", "subject", m.Subject, "bytes", len(m.Data))
		l.answer(m.Reply, refused)
		return
	}
	if !l.certain.Load() {
		l.answer(m.Reply, refused)
		return
	}
	if !u.isFriend(d.From) {
		l.answer(m.Reply, notFriends)
		return
	}
	sessions := u.list()
	if len(sessions) == 0 {
		l.answer(m.Reply, gone)
		return
	}
	if len(sessions) == 1 {
		sessions[0].deliverAlone(m.Data, m.Reply)
		return
	}
	dl := &delivery{lane: l, reply: m.Reply}
	dl.left.Store(int32(len(sessions)))
	for _, s := range sessions {
		s.deliver(m.Data, dl)
	}
}

// answer replies to a message from NATS; whoever did not ask for one gets none.
func (l *lane) answer(reply string, data []byte) {
	if reply == "" {
		return
	}
	l.sent(l.nc.Publish(reply, data))
}

// taken answers that a message was taken. The answer leaves when the lane has worked through what is there, or with
// takings.flush.
func (l *lane) taken(reply string) {
	if !l.takings.add(reply) {
		l.answer(reply, nil)
	}
}

// sent is told what came of an answer.
func (l *lane) sent(err error) {
	if err != nil && l.nc.IsConnected() { // who asked while NATS was there has given up
		l.log.Error("answer", "err", err)
	}
}
