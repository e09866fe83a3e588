package bridge

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// asker is who has a request under way: a session with a dialogue, or a question about presence.
type asker interface {
	// answered is called once, with a flight that is over. It must not keep the flight.
	answered(f *flight, code wire.Code, took time.Duration)
}

// flights are the requests that a lane has under way, each with a reply subject of its own and none with a goroutine.
// A plain subscription on the lane's own connection takes the replies: only there does NATS say at once, with a
// status of 503, that nobody listens.
type flights struct {
	nc      *nats.Conn
	inbox   string // reply subjects are this and the token of a flight
	timeout time.Duration
	hold    time.Duration // how long what found nobody waits to be sent again
	alone   *atomic.Bool  // no other node serves users
	log     *EventLog
	sub     *nats.Subscription

	mu     sync.Mutex // guards what follows
	slots  []flightSlot
	free   []uint32
	spare  []*flight        // not under way, kept for their memory
	last   uint64           // order of the flight that began last
	held   map[string][]use // what waits to be sent, by subject; see again.go
	active int
	timer  *time.Timer // runs while there are flights
	closed bool
}

// flightSlot is a place for a flight. A late reply to an earlier use of it has an earlier round.
type flightSlot struct {
	flight *flight // nil: the slot is free
	round  uint32
}

// flight is one request under way. Who begins it fills in subject, data and id, between take and launch.
type flight struct {
	asker   asker
	subject string
	data    []byte
	id      []byte // of the dialogue, as JSON; empty for a question about presence
	started time.Time
	expires time.Time
	order   uint64    // flights with a smaller order began earlier
	again   bool      // it has been resent once, and is not resent again
	refusal wire.Code // the final code if no node or client accepts it; 0: none has refused it

	reply   []byte // the reply subject
	sending bool   // its buffers are being read; guarded by the flights' mu
}

// spareMost bounds how many flights are kept for their memory, and spareData how large one may be.
const (
	spareMost = 4 << 10
	spareData = 4 << 10
)

func newFlights(nc *nats.Conn, timeout time.Duration, alone *atomic.Bool) *flights {
	f := &flights{nc: nc, inbox: nc.NewInbox() + laneMark, timeout: timeout, hold: crossing, alone: alone, held: make(map[string][]use)}
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
	fl := f.take(a)
	fl.subject, fl.data, fl.id = subject, append(fl.data, data...), append(fl.id, id...)
	return f.launch(fl)
}

// take returns a flight to be filled in and launched.
func (f *flights) take(a asker) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	var fl *flight
	if k := len(f.spare); k > 0 {
		fl, f.spare = f.spare[k-1], f.spare[:k-1]
	} else {
		fl = new(flight)
	}
	fl.asker, fl.again, fl.refusal, fl.data, fl.id = a, false, 0, fl.data[:0], fl.id[:0]
	return fl
}

// launch publishes the request of a flight. Without an error the asker is told what came of it, and the flight is not
// the caller's any more.
func (f *flights) launch(fl *flight) error {
	f.mu.Lock()
	var n uint32
	if k := len(f.free); k > 0 {
		n, f.free = f.free[k-1], f.free[:k-1]
	} else {
		n = uint32(len(f.slots))
		f.slots = append(f.slots, flightSlot{})
	}
	s := &f.slots[n]
	s.round++
	s.flight = fl
	round := s.round
	fl.sending, fl.started = true, time.Now()
	fl.expires = fl.started.Add(f.timeout)
	fl.reply = f.appendReply(fl.reply[:0], n, round)
	f.last++
	fl.order = f.last
	if f.active++; f.active == 1 {
		f.timer.Reset(f.tick())
	}
	if len(f.held) > 0 && f.queue(n) {
		fl.sending = false
		f.mu.Unlock()
		return nil
	}
	f.mu.Unlock()
	err := f.publish(fl)
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.sending = false
	if err != nil && f.is(n, round) {
		f.release(n)
		return err
	}
	return nil
}

// publish publishes the request of a flight, which is marked as sending.
func (f *flights) publish(fl *flight) error {
	// The client library copies both into its buffer before it returns.
	return f.nc.PublishRequest(fl.subject, unsafe.String(unsafe.SliceData(fl.reply), len(fl.reply)), fl.data)
}

// appendReply appends the reply subject of a use of a slot.
func (f *flights) appendReply(dst []byte, n, round uint32) []byte {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], n)
	binary.BigEndian.PutUint32(b[4:], round)
	return hex.AppendEncode(append(dst, f.inbox...), b[:])
}

// reply runs for every message on the inbox.
func (f *flights) reply(m *nats.Msg) {
	token := m.Subject[len(f.inbox):]
	if token == manyToken {
		for d := m.Data; len(d) >= tokenSize; d = d[tokenSize:] {
			if n, round, ok := parseToken(d[:tokenSize]); ok {
				f.finish(n, round, wire.Success)
			}
		}
		return
	}
	n, round, ok := parseToken([]byte(token))
	if !ok {
		return
	}
	switch code := replyCode(m); {
	case code == wire.PeerOffline && f.retry(n, round):
	case code == wire.SendFailed && f.refused(n, round, bytes.Equal(m.Data, gone)):
	default:
		f.finish(n, round, code)
	}
}

func parseToken(token []byte) (n, round uint32, ok bool) {
	var b [tokenSize / 2]byte
	if len(token) != tokenSize {
		return 0, 0, false
	}
	if _, err := hex.Decode(b[:], token); err != nil {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:]), true
}

// is tells whether the slot is still in this use. Called with mu held.
func (f *flights) is(n, round uint32) bool {
	return int(n) < len(f.slots) && f.slots[n].flight != nil && f.slots[n].round == round
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
	fl := f.slots[n].flight
	if code == wire.SendFailed && fl.refusal != 0 {
		code = fl.refusal
	}
	f.release(n)
	var late []use
	if code != wire.PeerOffline && len(f.held) > 0 {
		late = f.overtaken(fl.subject, fl.order)
	}
	f.mu.Unlock()
	for _, u := range late {
		f.finish(u.n, u.round, wire.PeerOffline)
	}
	if code == wire.Success && f.log.takes(fl) {
		return // it is answered once it is in the log
	}
	fl.asker.answered(fl, code, time.Since(fl.started))
	f.keep(fl)
}

// release frees a slot. Called with mu held.
func (f *flights) release(n uint32) {
	f.slots[n].flight = nil
	f.free = append(f.free, n)
	if f.active--; f.active == 0 {
		f.timer.Stop()
	}
}

// keep keeps the memory of a flight that is over.
func (f *flights) keep(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !fl.sending && len(f.spare) < spareMost && cap(fl.data) <= spareData && cap(fl.id) <= spareData {
		fl.asker = nil
		f.spare = append(f.spare, fl)
	}
}

// tick is how often flights are looked over, and so how much longer than its time one may last.
func (f *flights) tick() time.Duration {
	return min(max(f.timeout/8, time.Millisecond), 100*time.Millisecond)
}

// expire ends the flights whose time is up, with their refusal or else with 507.
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
		if s := &f.slots[n]; s.flight != nil && !at.Before(s.flight.expires) {
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
