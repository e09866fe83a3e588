package bridge

import (
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// asker is who has a request under way: a session with a dialogue, or a question about presence.
type asker interface {
	answered(id []byte, code wire.Code, took time.Duration)
}

// flights are the requests that a lane has under way, each with a reply subject of its own and none with a goroutine.
// A plain subscription on the lane's own connection takes the replies: only there does NATS say at once, with a
// status of 503, that nobody listens.
type flights struct {
	nc      *nats.Conn
	inbox   string // reply subjects are this and the token of a flight
	timeout time.Duration
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
	id      []byte
	started time.Time
	round   uint32 // how often the slot was used; a late reply to an earlier use does not match
}

func newFlights(nc *nats.Conn, timeout time.Duration) *flights {
	f := &flights{nc: nc, inbox: nc.NewInbox() + ".", timeout: timeout}
	f.timer = time.AfterFunc(time.Hour, f.expire)
	f.timer.Stop()
	return f
}

func (f *flights) subscribe() (err error) {
	if f.sub, err = f.nc.Subscribe(f.inbox+"*", f.reply); err != nil {
		return err
	}
	// One reply for each flight, and flights are bounded by the sessions': none may be dropped here.
	return f.sub.SetPendingLimits(-1, -1)
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
	s.asker, s.id, s.started = a, append(s.id[:0], id...), time.Now()
	s.round++
	var token [16]byte
	f.token(&token, n, s.round)
	if f.active++; f.active == 1 {
		f.timer.Reset(f.tick())
	}
	f.mu.Unlock()
	if err := f.nc.PublishRequest(subject, f.inbox+string(token[:]), data); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.slots[n].asker == a {
			f.release(n)
			return err
		}
	}
	return nil
}

func (f *flights) token(dst *[16]byte, n, round uint32) {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], n)
	binary.BigEndian.PutUint32(b[4:], round)
	hex.Encode(dst[:], b[:])
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
	f.finish(n, round, replyCode(m))
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
	if int(n) >= len(f.slots) || f.slots[n].asker == nil || f.slots[n].round != round {
		f.mu.Unlock()
		return // its time was up, or somebody else answered before
	}
	s := f.slots[n]
	a, id, took := s.asker, append(make([]byte, 0, 24), s.id...), time.Since(s.started)
	f.release(n)
	f.mu.Unlock()
	a.answered(id, code, took)
}

// release frees a slot. Called with mu held.
func (f *flights) release(n uint32) {
	f.slots[n].asker = nil
	f.free = append(f.free, n)
	if f.active--; f.active == 0 {
		f.timer.Stop()
	}
}

// tick is how often flights are looked over: a flight lasts up to an eighth longer than its timeout.
func (f *flights) tick() time.Duration { return max(f.timeout/8, time.Millisecond) }

// expire answers 507 for the flights whose time is up.
func (f *flights) expire() {
	f.mu.Lock()
	over := f.olderThan(f.timeout)
	if f.active > 0 && !f.closed {
		f.timer.Reset(f.tick())
	}
	f.mu.Unlock()
	f.fail(over)
}

// close answers whatever is still under way with 507.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.timer.Stop()
	all := f.olderThan(0)
	f.mu.Unlock()
	f.fail(all)
}

// use is one use of a slot.
type use struct{ n, round uint32 }

// olderThan lists the flights under way for at least d. Called with mu held.
func (f *flights) olderThan(d time.Duration) (uses []use) {
	now := time.Now()
	for n := range f.slots {
		if s := &f.slots[n]; s.asker != nil && now.Sub(s.started) >= d {
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
