package talk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natsutil"
	"imctl/bridge/recovery"
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
	home    string
	pending int
}

// relayed is a dialogue on its way to a home, or back.
type relayed struct {
	token   uint64
	batch   uint64 // the message with it; 0: it is in the queue of a line
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
	nc, err := opts.Connect("imctl talk relay")
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
	r.here(true, func(*relayed) bool { return true })
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
		r.here(true, func(e *relayed) bool { return r.routes[e.pair].home == lost })
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
	rt.pending++
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
				r.fail(errLost, func(e *relayed) bool { return e.batch == batch })
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
		if r.sent[e.token] == nil {
			continue // it was given up
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

// receive takes the answers of homes.
func (r *Relay) receive(answers <-chan *nats.Msg) {
	for {
		var m *nats.Msg
		select {
		case <-r.ctx.Done():
			return
		case m = <-answers:
		}
		end := r.opts.Gather()
		for m != nil {
			r.take(m)
			select {
			case m = <-answers:
			default:
				m = nil
			}
		}
		end()
	}
}

// take takes one message with answers, or NATS's notice that a home does not listen.
func (r *Relay) take(m *nats.Msg) {
	defer recovery.Log(r.opts.Log, "answer of the home of a conversation")
	if m.Header.Get("Status") == "503" {
		batch, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, r.inbox), 36, 64)
		if err == nil {
			r.here(false, func(e *relayed) bool { return e.batch == batch })
		}
		return
	}
	err := decodeAnswers(m.Data, func(a answer) {
		if e := r.remove(a.token); e != nil {
			r.answered(e, a)
		}
	})
	if err != nil {
		r.opts.Log.Warn("malformed answer of the home of a conversation", "err", err)
	}
}

func (r *Relay) answered(e *relayed, a answer) {
	switch {
	case errors.Is(a.err, ErrStalled):
		e.done.Unstored(&e.d)
		return
	case a.err != nil:
		e.done.Failed(a.err)
		return
	}
	e.d.N, e.d.At = a.n, a.at
	r.Seen(e.pair.A, e.pair.B, a.n)
	e.done.Stored(&e.d, a.again)
}

// remove ends the wait for a dialogue. It returns nil if that has ended.
func (r *Relay) remove(token uint64) *relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.removeLocked(token)
}

func (r *Relay) removeLocked(token uint64) *relayed {
	e := r.sent[token]
	if e == nil {
		return nil
	}
	delete(r.sent, token)
	if rt := r.routes[e.pair]; rt != nil {
		if rt.pending--; rt.pending == 0 {
			delete(r.routes, e.pair)
		}
	}
	return e
}

// some returns the dialogues on their way that which selects, in the order in which they were sent. Called with mu held.
func (r *Relay) some(which func(*relayed) bool) []*relayed {
	var some []*relayed
	for _, e := range r.sent {
		if which(e) {
			some = append(some, e)
		}
	}
	slices.SortFunc(some, func(a, b *relayed) int { return cmp.Compare(a.token, b.token) })
	return some
}

// fail refuses dialogues.
func (r *Relay) fail(err error, which func(*relayed) bool) {
	r.mu.Lock()
	some := r.some(which)
	for _, e := range some {
		r.removeLocked(e.token)
	}
	r.mu.Unlock()
	for _, e := range some {
		e.done.Failed(err)
	}
}

// here commits on this node the dialogues that no home has received. A dialogue that a lost home may have stored is
// committed if its id tells it from all others: it is then stored once. For any other the outcome is unknown.
func (r *Relay) here(received bool, which func(*relayed) bool) {
	type failure struct {
		e   *relayed
		err error
	}
	var failed []failure
	r.mu.Lock()
	// The mutex is held until all are queued: a later dialogue must not overtake them.
	for _, e := range r.some(which) {
		r.removeLocked(e.token)
		err := errHomeLost
		if !received || e.batch == 0 || e.d.Kept {
			err = r.Service.Add(e.to, e.d, (*retried)(e))
		}
		if err != nil {
			failed = append(failed, failure{e, err})
		}
	}
	r.mu.Unlock()
	for _, f := range failed {
		r.answered(f.e, answer{err: f.err})
	}
}

// retried is a dialogue that a home may have stored already. Its clients have not seen it.
type retried relayed

// Stored implements Done.
func (e *retried) Stored(d *kv.Dialogue, _ bool) { e.done.Stored(d, false) }

// Failed implements Done.
func (e *retried) Failed(err error) { e.done.Failed(err) }

// Unstored implements Done.
func (e *retried) Unstored(d *kv.Dialogue) { e.done.Unstored(d) }

// sweep settles the dialogues of lost homes, and refuses those that have expired.
func (r *Relay) sweep() {
	homes, now := r.nodes(), time.Now()
	r.here(true, func(e *relayed) bool { return !slices.Contains(homes, r.routes[e.pair].home) })
	r.fail(errExpired, func(e *relayed) bool { return !now.Before(e.expires) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sent) > 0 && r.ctx.Err() == nil {
		r.check.Reset(relayCheck)
	}
}
