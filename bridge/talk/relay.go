package talk

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// Nodes that write to one conversation at the same time refuse each other's records: each expects the newest record
// that it knows. Two friends on two nodes would lose every second commit that way. So each conversation has a home, the
// node that commits its dialogues, and the other nodes send them there. All nodes choose the same home as long as they
// see the same nodes. Where they do not, or where the home is lost, two nodes write, and expected sequences keep the
// conversation right.

const (
	// relayMargin is how long the answer of a home may take beyond the timeout of a dialogue.
	relayMargin = time.Second
	// relayCheck is the interval of checks for lost homes and expired dialogues, while some are on their way.
	relayCheck = 100 * time.Millisecond
	// leavingTime is how long a home that takes no more dialogues may take to answer those that it has. It may be about to
	// end, or have crashed.
	leavingTime = 300 * time.Millisecond
	// relayBytes bounds the dialogues in one message to a home.
	relayBytes = 256 << 10
)

// errHomeLost: the node that commits the conversation was lost, and may have stored the dialogue.
var errHomeLost = errors.New("the node that commits the conversation is lost")

// RelayOptions configure a Relay.
type RelayOptions struct {
	Connect natsutil.Connect
	Prefix  subject.Prefix
	Node    string // id of this node
	// Nodes returns the ids of all nodes, this one included, and whether all of them have relays and know dialogues that are
	// not stored. Otherwise each node commits what its users send. It is called for each dialogue.
	Nodes func() (ids []string, relay bool)
	// Gather delays the flush of frames while dialogues are answered, until end is called.
	Gather func() (end func())
	Log    *slog.Logger
}

// Relay is a Service that leaves a conversation to its home. It implements the same methods.
type Relay struct {
	*Service
	opts  RelayOptions
	nc    *nats.Conn
	inbox string // with the dot
	homes *home  // answers for the conversations whose home is this node
	subs  []*nats.Subscription
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	work  sync.WaitGroup

	mu     sync.Mutex // guards the fields below, and the fields of lines and relayed
	lines  map[string]*line
	routes map[kv.Pair]*route
	sent   map[uint64]*relayed // by token
	token  uint64
	batch  uint64
	check  *time.Timer // runs while sent is not empty
}

// line takes the dialogues for one home.
type line struct {
	home  string
	queue []*relayed    // not sent yet
	wake  chan struct{} // has a buffer of one
}

// route is a conversation with dialogues on their way to its home. Later ones follow them, so that the order holds.
type route struct {
	home  string
	queue []*relayed // in the order in which they were sent
	// refused is when the home was found to take no more dialogues; zero: it takes them. From then on dialogues wait until
	// those before them are settled, and are committed here.
	refused time.Time
}

// relayed is a dialogue on its way to a home, or back.
type relayed struct {
	token   uint64
	batch   uint64 // the message with it; 0: it was not sent
	refused bool   // its home has not received it
	pair    kv.Pair
	to      string
	d       kv.Dialogue
	done    Done
	expires time.Time
}

// NewRelay starts a relay in front of a service, and takes dialogues from the relays of other nodes.
func NewRelay(s *Service, opts RelayOptions) (*Relay, error) {
	r := &Relay{Service: s, opts: opts, lines: make(map[string]*line), routes: make(map[kv.Pair]*route), sent: make(map[uint64]*relayed)}
	if opts.Gather == nil {
		r.opts.Gather = func() func() { return func() {} }
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.check = time.AfterFunc(time.Hour, r.sweep)
	r.check.Stop()
	// While NATS is unreachable nothing is buffered: a home must not get later dialogues after earlier ones were lost.
	nc, err := opts.Connect("imctl talk relay", nats.ReconnectBufSize(-1), nats.DisconnectErrHandler(func(*nats.Conn, error) { r.Abort() }))
	if err != nil {
		return nil, fmt.Errorf("conversations: connect to NATS: %w", err)
	}
	r.nc, r.inbox = nc, nc.NewInbox()+"."
	r.homes = newHome(s, nc, &r.work, r.ctx, opts.Log)
	answers := make(chan *nats.Msg, 4<<10)
	sub, err := nc.ChanSubscribe(r.inbox+"*", answers)
	if err == nil {
		r.subs = append(r.subs, sub)
		sub, err = nc.Subscribe(opts.Prefix.Home(opts.Node), r.homes.receive)
	}
	if err == nil {
		r.subs = append(r.subs, sub)
		err = nc.FlushTimeout(openTimeout)
	}
	if err != nil {
		r.stop()
		nc.Close()
		return nil, fmt.Errorf("conversations: subscribe to relayed dialogues: %w", err)
	}
	r.work.Go(func() { r.receive(answers) })
	return r, nil
}

// Close stops taking dialogues from other nodes, commits what waits, and tells the other nodes. When ctx ends, it
// refuses the rest.
func (r *Relay) Close(ctx context.Context) error {
	var err error
	if len(r.subs) > 1 {
		err = natsutil.Drain(r.subs[1])
	}
	err = errors.Join(err, r.Service.Close(ctx))
	r.homes.flush()
	r.fail(errClosed, func(*relayed) bool { return true })
	err = errors.Join(err, r.nc.FlushWithContext(ctx))
	r.stop()
	r.check.Stop()
	r.nc.Close()
	r.work.Wait()
	return err
}

// Abort ends the wait for the homes, since their answers are lost with the connection to NATS.
func (r *Relay) Abort() {
	r.Service.Abort()
	r.here(func(*relayed) bool { return true })
}

// nodes returns the ids of the nodes that commit conversations.
func (r *Relay) nodes() []string {
	ids, relay := r.opts.Nodes()
	if !relay {
		return nil
	}
	return ids
}

// homeOf returns the home of a conversation, "" for this node. It is the one of the highest hash, so that a node that
// joins or leaves moves its own conversations only.
func (r *Relay) homeOf(p kv.Pair, homes []string) string {
	if len(homes) < 2 {
		return ""
	}
	best, most := "", uint64(0)
	for _, id := range homes {
		h := fnv.New64a()
		h.Write([]byte(p.A))
		h.Write([]byte(p.B))
		h.Write([]byte(id))
		// The last bytes hardly change the upper bits of FNV: mix them.
		sum := h.Sum64()
		sum ^= sum >> 29
		sum *= 0xbf58476d1ce4e5b9
		if sum ^= sum >> 32; best == "" || sum > most || sum == most && id < best {
			best, most = id, sum
		}
	}
	if best == r.opts.Node {
		return ""
	}
	return best
}

// Add queues a dialogue from its sender to a user, here or at the home of the conversation. It copies ID and Payload.
// After an error done is not called.
//
// Errors: those of Service.Add.
func (r *Relay) Add(to string, d kv.Dialogue, done Done) error {
	homes := r.nodes()
	if len(homes) < 2 && !r.relaying() {
		return r.addHere(to, d, done)
	}
	p := kv.PairOf(d.From, to)
	home := r.homeOf(p, homes)
	r.mu.Lock()
	rt := r.routes[p]
	if rt != nil && rt.home != home && !slices.Contains(homes, rt.home) {
		lost := rt.home
		r.mu.Unlock()
		r.here(func(e *relayed) bool { return r.routes[e.pair].home == lost })
		r.mu.Lock()
		rt = r.routes[p]
	}
	if rt != nil {
		home = rt.home // later dialogues follow those that are on their way
	}
	if home == "" || rt == nil && (r.Service.waits(p) || r.Service.Stalled()) {
		r.mu.Unlock()
		return r.addHere(to, d, done)
	}
	defer r.mu.Unlock()
	if _, err := r.Service.admissible(to, &d); err != nil {
		return err
	}
	r.send(home, p, to, d, done)
	return nil
}

// addHere is Service.Add. While a node of an older version is listed, no dialogue is delivered before it is stored: that
// node would show it to sessions that take part in kept conversations, without a number.
func (r *Relay) addHere(to string, d kv.Dialogue, done Done) error {
	if _, current := r.opts.Nodes(); !current {
		return r.Service.AddFixed(to, d, done)
	}
	return r.Service.Add(to, d, done)
}

// Stalled reports whether dialogues cannot be stored at the moment, and may be delivered nevertheless.
func (r *Relay) Stalled() bool {
	_, current := r.opts.Nodes()
	return current && r.Service.Stalled()
}

// relaying reports whether dialogues are on their way.
func (r *Relay) relaying() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sent) > 0
}

// send queues a dialogue for its home. Called with mu held.
func (r *Relay) send(home string, p kv.Pair, to string, d kv.Dialogue, done Done) {
	text := append(append(make([]byte, 0, len(d.ID)+len(d.Payload)), d.ID...), d.Payload...)
	d.ID, d.Payload = text[:len(d.ID):len(d.ID)], text[len(d.ID):]
	r.token++
	wait := r.Service.opts.Timeout
	if d.Kept {
		wait = r.Service.opts.Wait
	}
	e := &relayed{token: r.token, pair: p, to: to, d: d, done: done, expires: time.Now().Add(wait + relayMargin)}
	if len(r.sent) == 0 {
		r.check.Reset(relayCheck)
	}
	r.sent[e.token] = e
	rt := r.routes[p]
	if rt == nil {
		rt = &route{home: home}
		r.routes[p] = rt
	}
	rt.queue = append(rt.queue, e)
	if !rt.refused.IsZero() {
		e.refused = true
		return
	}
	l := r.lines[home]
	if l == nil {
		l = &line{home: home, wake: make(chan struct{}, 1)}
		r.lines[home] = l
		r.work.Go(func() { r.run(l) })
	}
	l.queue = append(l.queue, e)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run sends what the queue of a line has, in messages of up to relayBytes.
func (r *Relay) run(l *line) {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-l.wake:
		}
		for {
			m, batch := r.next(l)
			if m == nil {
				break
			}
			if err := r.nc.PublishMsg(m); err != nil {
				r.opts.Log.Debug("relay dialogues", "home", l.home, "err", err)
				r.refuse(batch)
			}
		}
	}
}

// next returns the next message of a line, or nil if its queue is empty.
func (r *Relay) next(l *line) (m *nats.Msg, batch uint64) {
	most := min(relayBytes, int(r.nc.MaxPayload()))
	var data, one []byte
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for ; n < len(l.queue); n++ {
		e := l.queue[n]
		if r.sent[e.token] == nil || e.refused {
			continue // it was given up, or waits for those before it
		}
		one = appendRelayed(one[:0], e)
		if len(data) > 0 && len(data)+len(one) > most {
			break
		}
		if len(data) == 0 {
			r.batch++
		}
		e.batch = r.batch
		data = append(data, one...)
	}
	l.queue = slices.Delete(l.queue, 0, n)
	if len(data) == 0 {
		return nil, 0
	}
	return &nats.Msg{Subject: r.opts.Prefix.Home(l.home), Reply: r.inbox + strconv.FormatUint(r.batch, 36), Data: data}, r.batch
}
