package bridge

import (
	"encoding/binary"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// asker is who has a request under way: a session with a dialogue, or a question about presence.
type asker interface {
	// answered is called once, with a flight that is over: nothing else uses it any more.
	answered(f *flight, code wire.Code, took time.Duration)
}

// flights are the requests that a lane has under way, each with a reply subject of its own and none with a goroutine.
// A plain subscription on the lane's own connection takes the replies: only there does NATS say at once, with a
// status of 503, that nobody listens.
type flights struct {
	nc      *nats.Conn
	inbox   string // reply subjects are this and the token of a flight
	timeout time.Duration
	alone   *atomic.Bool // no other node serves users
	log     *EventLog
	sub     *nats.Subscription

	mu     sync.Mutex
	slots  []flight
	free   []uint32
	active int
	timer  *time.Timer // runs while there are flights
	closed bool
}

type flight struct {
	asker   asker // nil: the slot is free
	subject string
	data    []byte
	id      []byte
	started time.Time
	expires time.Time
	round   uint32 // how often the slot was used; a late reply to an earlier use does not match
	again   bool   // nobody listened, so it was sent a second time
}

// crossing is how long interest may take to cross from one server of a cluster to another, with a margin.
const crossing = 50 * time.Millisecond

func newFlights(nc *nats.Conn, timeout time.Duration, alone *atomic.Bool) *flights {
	f := &flights{nc: nc, inbox: nc.NewInbox() + ".", timeout: timeout, alone: alone}
	f.timer = time.AfterFunc(time.Hour, f.expire)
	f.timer.Stop()
	return f
}

// subscribe has the replies delivered to the lane's channel.
func (f *flights) subscribe(in chan *nats.Msg) (err error) {
	f.sub, err = f.nc.ChanSubscribe(f.inbox+"*", in)
	return err
}

// send publishes a request; the asker is told what came of it, once.
func (f *flights) send(subject string, data, id []byte, a asker) error {
	f.mu.Lock()
	var n uint32
	if k := len(f.free); k > 0 {
		n, f.free = f.free[k-1], f.free[:k-1]
	} else {
		n = uint32(len(f.slots))
		f.slots = append(f.slots, flight{})
	}
	s := &f.slots[n]
	s.asker, s.subject, s.data, s.id, s.again = a, subject, data, append(s.id[:0], id...), false
	s.started = time.Now()
	s.expires = s.started.Add(f.timeout)
	s.round++
	round := s.round
	if f.active++; f.active == 1 {
		f.timer.Reset(f.tick())
	}
	f.mu.Unlock()
	if err := f.publish(subject, data, n, round); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if s := &f.slots[n]; s.asker != nil && s.round == round {
			f.release(n)
			return err
		}
	}
	return nil
}

func (f *flights) publish(subject string, data []byte, n, round uint32) error {
	var b [8]byte
	var token [16]byte
	binary.BigEndian.PutUint32(b[:], n)
	binary.BigEndian.PutUint32(b[4:], round)
	hex.Encode(token[:], b[:])
	return f.nc.PublishRequest(subject, f.inbox+string(token[:]), data)
}

// reply runs for every message on the inbox.
func (f *flights) reply(m *nats.Msg) {
	var b [8]byte
	if len(m.Subject) != len(f.inbox)+16 {
		return
	}
	if _, err := hex.Decode(b[:], []byte(m.Subject[len(f.inbox):])); err != nil {
		return
	}
	n, round := binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:])
	switch code := replyCode(m); {
	case code == wire.PeerOffline && f.retry(n, round):
	case code == wire.SendFailed && f.refused(n, round):
	default:
		f.finish(n, round, code)
	}
}

// retry sends a dialogue once more that found nobody, since the friend may have come online on another node a moment
// ago. It reports false where there is no other node, or it was done before. Questions about presence have no id, and
// are content with the first answer.
func (f *flights) retry(n, round uint32) bool {
	if f.alone.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.is(n, round) || f.slots[n].again || len(f.slots[n].id) == 0 {
		return false
	}
	s := &f.slots[n]
	s.again = true
	subject, data := s.subject, s.data
	time.AfterFunc(crossing, func() {
		if f.publish(subject, data, n, round) != nil {
			f.finish(n, round, wire.SendFailed)
		}
	})
	return true
}

// refused keeps a dialogue waiting that a node or a client refused, because another one may still take it: for as
// long as the time limit where there are other nodes, else for as long as a client on this node's NATS may need.
func (f *flights) refused(n, round uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.is(n, round) {
		return false
	}
	if soon := time.Now().Add(crossing); f.alone.Load() && soon.Before(f.slots[n].expires) {
		f.slots[n].expires = soon
	}
	return true
}

// is tells whether the slot is still in this use. Called with mu held.
func (f *flights) is(n, round uint32) bool {
	return int(n) < len(f.slots) && f.slots[n].asker != nil && f.slots[n].round == round
}

// replyCode reads the answer to a dialogue, which is NATS's own when nobody listens.
func replyCode(m *nats.Msg) wire.Code {
	if len(m.Header) > 0 && m.Header.Get("Status") == "503" {
		return wire.PeerOffline
	}
	return wire.ParseTaken(m.Data)
}

func (f *flights) finish(n, round uint32, code wire.Code) {
	f.mu.Lock()
	if !f.is(n, round) {
		f.mu.Unlock()
		return // its time was up, or somebody else answered before
	}
	over := f.slots[n]
	over.id = append(make([]byte, 0, 24), over.id...)
	f.release(n)
	f.mu.Unlock()
	if code == wire.Success && f.log.takes(&over) {
		return // it is answered once it is in the log
	}
	over.asker.answered(&over, code, time.Since(over.started))
}

// release frees a slot. Called with mu held.
func (f *flights) release(n uint32) {
	f.slots[n].asker, f.slots[n].data, f.slots[n].subject = nil, nil, ""
	f.free = append(f.free, n)
	if f.active--; f.active == 0 {
		f.timer.Stop()
	}
}

// tick is how often flights are looked over, and so how much longer than its time one may last.
func (f *flights) tick() time.Duration {
	return min(max(f.timeout/8, time.Millisecond), 100*time.Millisecond)
}

// expire answers 507 for the flights whose time is up.
func (f *flights) expire() {
	f.mu.Lock()
	over := f.expired(time.Now())
	if f.active > 0 && !f.closed {
		f.timer.Reset(f.tick())
	}
	f.mu.Unlock()
	f.fail(over)
}

// abort answers whatever is under way with 507.
func (f *flights) abort() {
	f.mu.Lock()
	all := f.expired(time.Now().Add(f.timeout))
	f.mu.Unlock()
	f.fail(all)
}

// close ends what is under way, and takes no more.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.timer.Stop()
	f.mu.Unlock()
	f.abort()
}

// use is one use of a slot.
type use struct{ n, round uint32 }

// expired lists the flights whose time is up at the given moment. Called with mu held.
func (f *flights) expired(at time.Time) (uses []use) {
	for n := range f.slots {
		if s := &f.slots[n]; s.asker != nil && !at.Before(s.expires) {
			uses = append(uses, use{uint32(n), s.round})
		}
	}
	return uses
}

func (f *flights) fail(uses []use) {
	for _, u := range uses {
		f.finish(u.n, u.round, wire.SendFailed)
	}
}
