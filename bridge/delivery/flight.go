package delivery

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"

	"imctl/bridge/eventlog"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
)

// flights are the requests of a lane that are not answered yet: dialogues, and presence probes. Each has a reply
// subject of its own and none a goroutine. A plain subscription on the lane's own connection receives the replies: only
// there does NATS report at once, with the status 503, that a subject has no subscription.
type flights struct {
	nc      *nats.Conn
	names   subject.Prefix
	inbox   string // reply subjects are this and the token of a flight
	timeout time.Duration
	holdFor time.Duration // delay before a flight that found no subscription is resent
	alone   func() bool   // no other node serves users
	covered func() bool   // a listener covers the subjects of users
	suspect func()        // is called when a listener may have answered, or no client did
	echo    func(*flight) // shows a delivered dialogue to the sender's other devices
	log     *eventlog.Log // nil: none
	keeper  Keeper        // nil: conversations are not kept
	most    func() int    // bytes of data of all flights of the lane; 0: no limit
	sub     *nats.Subscription
	epoch   atomic.Uint32 // counts aborts; see epoch.go

	mu      sync.Mutex // guards the fields below
	slots   []flightSlot
	free    []uint32
	spare   []*flight        // finished, kept for their memory
	last    uint64           // order of the youngest flight
	held    map[string][]use // flights that wait to be sent, by subject; see resend.go
	active  int
	bytes   int         // of the active flights' data
	timer   *time.Timer // runs while active > 0
	closed  bool
	paused  bool          // flights wait for resume; see pause.go
	waiting []use         // in order
	lost    time.Time     // when the connection was last lost
	back    time.Time     // when all connections of the node were last back
	quiet   chan struct{} // closed when all active flights wait; nil unless a pause waits for that
}

// flightSlot holds a flight. A late reply to an earlier use of the slot has an earlier round.
type flightSlot struct {
	flight *flight // nil: the slot is free
	round  uint32
}

// flight is one request. The caller fills in the fields of the first group between take and launch.
type flight struct {
	sender   Sender
	from, to string  // users of a dialogue
	member   *Member // of the session that sent the dialogue; nil for a NATS client
	subject  string
	data     []byte
	id       []byte // of the dialogue, as JSON; empty for a presence probe
	number   uint64 // of a dialogue that is stored; 0: it is not kept
	live     bool   // it is not stored because conversations cannot be stored

	flights *flights
	started time.Time // zero before the launch: the time of that
	expires time.Time
	order   uint64    // flights with a smaller order began earlier
	resent  bool      // it is not resent again
	refusal wire.Code // the final code if no node or client accepts it; 0: none has refused it
	reply   []byte    // the reply subject
	sending bool      // its buffers are being read; guarded by the flights' mu
}

// probe reports whether the flight only asks whether a user is online.
func (fl *flight) probe() bool { return len(fl.id) == 0 }

// answer tells the sender, and shows a delivered dialogue to the sender's other devices.
func (fl *flight) answer(code wire.Code) {
	fl.sender.Answered(fl.id, code, time.Since(fl.started))
	if code == wire.Success && !fl.probe() && fl.flights.echo != nil {
		fl.flights.echo(fl)
	}
}

// Logged implements eventlog.Done.
func (fl *flight) Logged(ok bool) {
	code := wire.Success
	if !ok {
		code = wire.SendFailed
	}
	fl.answer(code)
}

// maxSpare bounds the finished flights that are kept, and maxSpareData the buffers of each.
const (
	maxSpare     = 4 << 10
	maxSpareData = 4 << 10
)

func newFlights(nc *nats.Conn, timeout time.Duration, alone func() bool) *flights {
	f := &flights{nc: nc, inbox: nc.NewInbox() + laneMark, most: func() int { return 0 }, timeout: timeout, holdFor: interestDelay, alone: alone, covered: func() bool { return false }, suspect: func() {}, held: make(map[string][]use)}
	f.timer = time.AfterFunc(time.Hour, f.expire)
	f.timer.Stop()
	return f
}

// subscribe has NATS deliver the replies to in.
func (f *flights) subscribe(in chan *nats.Msg) (err error) {
	f.sub, err = f.nc.ChanSubscribe(f.inbox+"*", in)
	return err
}

// take returns a flight for the caller to fill in and launch.
func (f *flights) take(s Sender) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	var fl *flight
	if k := len(f.spare); k > 0 {
		fl, f.spare = f.spare[k-1], f.spare[:k-1]
	} else {
		fl = new(flight)
	}
	fl.sender, fl.flights, fl.resent, fl.refusal, fl.data, fl.id, fl.number = s, f, false, 0, fl.data[:0], fl.id[:0], 0
	fl.live, fl.started = false, time.Time{}
	return fl
}

// launch publishes the request of a flight. Unless it returns an error, the sender is answered once, and the flight is
// no longer the caller's.
//
// Errors: errInFlight, and those of NATS.
func (f *flights) launch(fl *flight) error {
	_, err := f.launchStored(fl, true)
	return err
}

// launchStored is launch, and returns the use of the slot. Without publish the caller hands the dialogue to its
// receivers.
func (f *flights) launchStored(fl *flight, publish bool) (u use, err error) {
	f.mu.Lock()
	if !f.hasRoom(fl) {
		f.mu.Unlock()
		return u, errInFlight
	}
	f.bytes += len(fl.data)
	if fl.member != nil {
		fl.member.inFlight += len(fl.data)
	}
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
	now := time.Now()
	fl.sending, fl.expires = publish, now.Add(f.timeout)
	if fl.started.IsZero() {
		fl.started = now
	} else if due := fl.started.Add(f.timeout); due.After(now.Add(f.timeout / 2)) {
		fl.expires = due
	} else {
		fl.expires = now.Add(f.timeout / 2)
	}
	fl.reply = f.appendReply(fl.reply[:0], n, round)
	f.last++
	fl.order = f.last
	if f.active++; f.active == 1 {
		f.timer.Reset(f.tick())
	}
	u = use{n, round}
	if !publish {
		f.mu.Unlock()
		return u, nil
	}
	if f.wait(n) || len(f.held) > 0 && f.enqueue(n) {
		fl.sending = false
		f.mu.Unlock()
		return u, nil
	}
	f.mu.Unlock()
	err = f.publish(fl)
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.sending = false
	if err != nil && f.is(n, round) {
		f.release(n)
		return u, err
	}
	return u, nil
}

// taken notes that a client has a kept dialogue: it may be a NATS client, whose acknowledgement no other node sees.
func (f *flights) taken(n, round uint32) {
	f.mu.Lock()
	var from, to string
	var number uint64
	if f.is(n, round) {
		fl := f.slots[n].flight
		from, to, number = fl.from, fl.to, fl.number
	}
	f.mu.Unlock()
	if number != 0 {
		f.keeper.Got(to, from, number)
	}
}

// errInFlight: the dialogues in flight of a sender, and of all senders of the lane, have too many bytes.
var errInFlight = errors.New("too many bytes are in flight")

// A sender may have senderShare bytes in flight whatever the others have. A NATS client, whose flights are not counted
// one by one, may send dialogues up to smallDialogue.
const (
	senderShare   = 64 << 10
	smallDialogue = 4 << 10
)

// hasRoom reports whether a flight may begin. Called with mu held.
func (f *flights) hasRoom(fl *flight) bool {
	most := f.most()
	if most <= 0 || f.bytes+len(fl.data) <= most {
		return true
	}
	if fl.member == nil {
		return len(fl.data) <= smallDialogue
	}
	return fl.member.inFlight+len(fl.data) <= senderShare
}

// publish publishes the request of a flight, which is marked as sending.
func (f *flights) publish(fl *flight) error {
	f.stamp(fl.reply)
	if fl.live {
		return f.nc.PublishMsg(liveMessage(fl))
	}
	// The NATS client copies both into its buffer before it returns.
	return f.nc.PublishRequest(fl.subject, unsafe.String(unsafe.SliceData(fl.reply), len(fl.reply)), fl.data)
}

// appendReply appends the reply subject of a use of a slot.
func (f *flights) appendReply(dst []byte, n, round uint32) []byte {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], n)
	binary.BigEndian.PutUint32(b[4:], round)
	return hex.AppendEncode(append(dst, f.inbox...), b[:])
}

// receive handles a message on the inbox.
func (f *flights) receive(m *nats.Msg) {
	token := m.Subject[len(f.inbox):]
	if token == batchToken {
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
	code := replyCode(m)
	if code == wire.Success && f.keeper != nil {
		f.taken(n, round)
	}
	switch {
	case code == wire.SendFailed && isStreamAck(m.Data):
		f.suspect() // a stream is no client: one may still answer
	case code == wire.PeerOffline && f.hold(n, round):
	case code == wire.PeerOffline && f.returning():
		f.finish(n, round, wire.SendFailed)
	case code == wire.SendFailed && f.refused(n, round, refusalOf(m.Data)):
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
	return binary.BigEndian.Uint32(b[:]) & slotMask, binary.BigEndian.Uint32(b[4:]), true
}

// is reports whether the slot is still in this use. Called with mu held.
func (f *flights) is(n, round uint32) bool {
	return int(n) < len(f.slots) && f.slots[n].flight != nil && f.slots[n].round == round
}

// replyCode returns the code of a reply. NATS itself replies if the subject has no subscription.
func replyCode(m *nats.Msg) wire.Code {
	if len(m.Header) > 0 && m.Header.Get("Status") == "503" {
		return wire.PeerOffline
	}
	return wire.ParseTaken(m.Data)
}

// isStreamAck reports whether a reply is that of a JetStream stream that stores the dialogues to users.
func isStreamAck(b []byte) bool {
	var ack struct {
		Stream string `json:"stream"`
		Error  struct {
			Code int `json:"err_code"`
		} `json:"error"`
	}
	return json.Unmarshal(b, &ack) == nil && (ack.Stream != "" || ack.Error.Code != 0)
}

func (f *flights) finish(n, round uint32, code wire.Code) {
	f.mu.Lock()
	if !f.is(n, round) {
		f.mu.Unlock()
		return // it has expired, or another reply came first
	}
	fl := f.slots[n].flight
	if code == wire.SendFailed && fl.refusal != 0 {
		code = fl.refusal
	}
	if code == wire.PeerOffline && fl.number != 0 {
		code = wire.SendFailed // 508 would mean that the dialogue is not kept
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
	if code == wire.Success && f.logged(fl) {
		return // the log answers once it has stored the entry
	}
	if code == wire.PeerOffline {
		f.refusedOffline(fl)
	}
	fl.answer(code)
	f.keep(fl)
}

// release frees a slot. Called with mu held.
func (f *flights) release(n uint32) {
	fl := f.slots[n].flight
	f.bytes -= len(fl.data)
	if fl.member != nil {
		fl.member.inFlight -= len(fl.data)
	}
	f.slots[n].flight = nil
	f.free = append(f.free, n)
	if f.active--; f.active == 0 {
		f.timer.Stop()
	}
	f.noteQuiet()
}

// logged hands a delivered dialogue to the event log, if that is attached. The log then answers the sender.
func (f *flights) logged(fl *flight) bool {
	if f.log == nil || fl.probe() || !f.log.Attached() {
		return false
	}
	d, ok := wire.ParseDialogue(fl.data)
	return ok && f.log.AddDialogue(eventlog.Dialogue{From: fl.from, To: fl.to, ID: d.ID, Payload: d.Payload, Sent: fl.started, Done: fl})
}

// keep keeps the memory of a finished flight.
func (f *flights) keep(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !fl.sending && len(f.spare) < maxSpare && cap(fl.data) <= maxSpareData && cap(fl.id) <= maxSpareData {
		fl.sender, fl.member = nil, nil
		f.spare = append(f.spare, fl)
	}
}

// tick is the interval of checks for expired flights, and so the most that one outlives its time.
func (f *flights) tick() time.Duration {
	return min(max(f.timeout/8, time.Millisecond), 100*time.Millisecond)
}

// expire ends the expired flights, with their refusal or else with 507.
func (f *flights) expire() {
	f.mu.Lock()
	expired := f.expired(time.Now())
	if f.active > 0 && !f.closed {
		f.timer.Reset(f.tick())
	}
	f.mu.Unlock()
	if len(expired) > 0 {
		f.suspect()
	}
	f.fail(expired)
}

// abort answers all flights with 507, except those that wait for the end of a pause.
func (f *flights) abort() {
	f.epoch.Add(1)
	f.mu.Lock()
	f.lost = time.Now()
	all := f.expired(f.lost.Add(f.timeout))
	if len(f.waiting) > 0 && !f.closed {
		waiting := make(map[use]bool, len(f.waiting))
		for _, u := range f.waiting {
			waiting[u] = true
		}
		all = slices.DeleteFunc(all, func(u use) bool { return waiting[u] })
	}
	f.mu.Unlock()
	f.fail(all)
}

// close aborts all flights and stops the timer.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.timer.Stop()
	f.mu.Unlock()
	f.abort()
}

// use is one use of a slot.
type use struct{ n, round uint32 }

// expired returns the flights that are expired at the given time. Called with mu held.
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
