// Package bridge stands between people and NATS. In front it speaks the protocol over HTTP and WebSocket; behind it
// every user who is online has a set of NATS subjects, on which dialogues and notices arrive and other programs may
// take part. It keeps nothing that it cannot lose: what lasts is in the buckets of package kv, what is live is interest
// in a subject.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
	"github.com/olahol/melody"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/limit"
	"imctl/kv"
)

// Options are what a Bridge is made of.
type Options struct {
	// Connect opens a connection to NATS on which nothing is held back while NATS is away.
	Connect func(name string, opts ...nats.Option) (*nats.Conn, error)
	Prefix  string // of all subjects
	Lanes   int    // 0: as many as there are processors
	Logins  int    // how many gather what their people are shown at once; 0: twice as many as there are processors
	Host    string // of this node, for administrators to see
	Version string // of this program, likewise

	Store  *kv.Store
	Hasher *kv.Hasher

	Sessions  Sessions
	Dialogues Dialogues
	Limits    Limits
	EventLog  EventLogOptions // MaxAge, MaxBytes, Replicas, OnError and Plain; the rest is the bridge's
	Callout   *CalloutOptions // nil: somebody else decides who may log in to NATS

	// ReadOnly, if set, returns the reason while durable writes are refused, and otherwise nil.
	ReadOnly func() error

	Mailer *Mailer // of codes for forgotten passwords; nil: none are sent

	Origins        []string       // of web pages, besides the server's own, that may open a WebSocket
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed

	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Sessions bound what one session, and one user, may hold.
type Sessions struct {
	PerUser      int           // sessions at once on a node; the oldest gives way
	Buffer       int           // dialogues that wait for a session that does not read
	InFlight     int           // frames of a session that are not answered yet; past them it is not read from
	MaxFrame     int64         // bytes
	Ping         time.Duration // how often a session is pinged; it ends when nothing comes back for somewhat longer
	WriteTimeout time.Duration // for one write to a socket
}

// Dialogues say how dialogues are delivered.
type Dialogues struct {
	Timeout time.Duration // without word from the friend's side, 507
}

// Limits are rates for each address, account or session; the zero rate does not limit.
type Limits struct {
	Registrations limit.Rate // accounts made from one address
	Logins        limit.Rate // attempts from one address
	LoginFailures limit.Rate // for one address, and for one account
	Dialogues     limit.Rate // of one session
	Forgotten     limit.Rate // calls for a code by mail from one address, and codes for one account
	Picture       int        // bytes of a picture
}

// Bridge serves the protocol. New starts it, Handler is what an HTTP server serves, Shutdown ends it.
type Bridge struct {
	o        Options
	node     kv.Node
	log      *slog.Logger
	metrics  *metrics
	service  *Service
	events   *EventLog
	nc       *nats.Conn
	system   *nats.Conn // nil: none
	callout  *callout   // nil: another program decides who may log in to NATS
	api      *natsAPI
	post     *post // nil: without a mailer
	lanes    []*lane
	logins   chan struct{} // a semaphore for logins
	seed     maphash.Seed
	melody   *melody.Melody
	refusal  *websocket.Upgrader // for logins that fail, which melody never sees
	refusals refusals
	limits   atomic.Pointer[limiters]
	origins  atomic.Pointer[[]string]
	link     *link
	certain  atomic.Bool   // the rosters in memory are up to date
	gone     chan struct{} // signals that a node has crashed and sessions need a reload
	back     chan struct{} // signals that sessions need a presence refresh
	checking chan struct{} // a mutex for checkState

	mu       sync.Mutex // guards draining, sessions and adding to wg
	draining bool
	sessions map[*session]struct{}
	wg       sync.WaitGroup // connections that were hijacked
}

// startWait bounds the start, for a caller who sets no limit: the client library does not wait without one.
const startWait = time.Minute

// New connects to NATS and starts the lanes.
func New(ctx context.Context, o Options) (*Bridge, error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if o.Lanes <= 0 {
		o.Lanes = runtime.GOMAXPROCS(0)
	}
	if o.Logins <= 0 {
		o.Logins = 2 * runtime.GOMAXPROCS(0)
	}
	// A friend's session refuses dialogues in flight that exceed its buffer. A fast sender would then get 507 although
	// the friend reads all the time.
	o.Sessions.InFlight = min(o.Sessions.InFlight, o.Sessions.Buffer)
	b := &Bridge{o: o, node: kv.Node{ID: kv.NewID()[:16], Host: o.Host, Version: o.Version, Started: time.Now().UTC()}, log: o.Log, metrics: newMetrics(o.Registry), logins: make(chan struct{}, o.Logins), seed: maphash.MakeSeed(), sessions: make(map[*session]struct{}), gone: make(chan struct{}, 1), back: make(chan struct{}, 1), checking: make(chan struct{}, 1)}
	b.refusals.log = o.Log
	b.link = newLink(b)
	b.SetLimits(o.Limits)
	b.SetOrigins(o.Origins)
	b.setUpMelody()
	var err error
	if b.nc, err = o.Connect("imctl service", b.link.options()...); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	log := o.EventLog
	log.Answering, log.States = b.gather, o.Store.States
	log.Prefix, log.Timeout, log.Registry, log.Log = o.Prefix, o.Dialogues.Timeout, o.Registry, o.Log
	if b.events, err = OpenEventLog(ctx, b.nc, o.Connect, log); err != nil {
		return nil, errors.Join(err, b.Shutdown(ctx))
	}
	service := ServiceOptions{Prefix: o.Prefix, Store: o.Store, Hasher: o.Hasher, Events: b.events, Log: o.Log}
	if service.Access, service.System, err = b.access(); err != nil {
		return nil, errors.Join(err, b.Shutdown(ctx))
	}
	b.service = NewService(b.nc, service)
	for i := range o.Lanes {
		nc, err := o.Connect(fmt.Sprintf("imctl lane %d", i), append(b.link.options(), nats.ReconnectBufSize(-1))...)
		if err == nil {
			var l *lane
			if l, err = newLane(nc, b); err == nil {
				b.lanes = append(b.lanes, l)
				b.link.watch(l)
				continue
			}
			nc.Close()
		}
		return nil, errors.Join(fmt.Errorf("connect to NATS: %w", err), b.Shutdown(ctx))
	}
	if err := b.service.nodes.join(ctx, b.node, b.execute); err != nil {
		return nil, errors.Join(err, b.Shutdown(ctx))
	}
	if err := b.service.Repair(ctx); err != nil {
		return nil, errors.Join(err, b.Shutdown(ctx))
	}
	// This node was not told of consumers that were attached before it registered: count them.
	if _, err := b.events.look(ctx); err != nil {
		return nil, errors.Join(err, b.Shutdown(ctx))
	}
	// This node was not told of a restore that began before it registered.
	if err := b.checkState(ctx); err != nil {
		return nil, errors.Join(err, b.Shutdown(ctx))
	}
	b.certain.Store(true)
	if b.api, err = newNATSAPI(b, b.nc); err != nil {
		return nil, errors.Join(err, b.Shutdown(ctx))
	}
	if o.Mailer != nil {
		b.post = newPost(b, o.Mailer)
	}
	if o.Callout != nil {
		if b.callout, err = newCallout(ctx, b); err != nil {
			return nil, errors.Join(err, b.Shutdown(ctx))
		}
	}
	b.link.wg.Go(func() { b.lookAfter(b.link.ctx) })
	b.link.wg.Go(func() { b.surveys(b.link.ctx) })
	b.metrics.observe(b)
	return b, nil
}

// Service is what the bridge's calls are made of, for the administration.
func (b *Bridge) Service() *Service { return b.service }

// SetLimits changes the rates; those who were counted start anew.
func (b *Bridge) SetLimits(l Limits) { b.limits.Store(newLimiters(l)) }

// SetOrigins changes which other pages may open a WebSocket.
func (b *Bridge) SetOrigins(origins []string) { b.origins.Store(&origins) }

// Handler serves everything below /im/.
func (b *Bridge) Handler() http.Handler { return b.routes() }

// lane is the one that owns the user.
func (b *Bridge) lane(id string) *lane {
	return b.lanes[maphash.String(b.seed, id)%uint64(len(b.lanes))]
}

// gather has frames wait, so that they leave together, until end is called.
func (b *Bridge) gather() (end func()) {
	for _, l := range b.lanes {
		l.begin()
	}
	return func() {
		for _, l := range b.lanes {
			l.end()
		}
	}
}

// Len is how many sessions there are.
func (b *Bridge) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

// remember and forget keep the list of sessions that Drain works through.
func (b *Bridge) remember(s *session) {
	b.mu.Lock()
	b.sessions[s] = struct{}{}
	draining := b.draining
	b.mu.Unlock()
	switch {
	case draining:
		s.closeWith(nil, websocket.CloseGoingAway, goingDown)
	case b.isHalted():
		s.closeWith(nil, closeServiceRestart, "restored from a backup")
	}
}

func (b *Bridge) forget(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, s)
}

// enter counts a connection, unless the bridge is draining or halted by a restore. If enter returns true, the caller must
// call b.wg.Done.
func (b *Bridge) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draining || b.isHalted() {
		return false
	}
	b.wg.Add(1)
	return true
}

const goingDown = "server is going down"

// Drain refuses new sessions and ends those that there are, each behind the frames that wait for it. It returns when
// all have ended; those that have not when ctx is done are cut off.
func (b *Bridge) Drain(ctx context.Context) error {
	b.mu.Lock()
	b.draining = true
	open := make([]*session, 0, len(b.sessions))
	for s := range b.sessions {
		open = append(open, s)
	}
	b.mu.Unlock()
	for _, s := range open {
		s.closeWith(nil, websocket.CloseGoingAway, goingDown)
	}
	gone := make(chan struct{})
	go func() { b.wg.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	left := len(b.sessions)
	for s := range b.sessions {
		s.conn.Kill()
	}
	b.mu.Unlock()
	<-gone
	return fmt.Errorf("%d sessions cut off: %w", left, ctx.Err())
}

// Shutdown drains the bridge and leaves NATS.
func (b *Bridge) Shutdown(ctx context.Context) error {
	err := b.Drain(ctx)
	b.refusals.close()
	b.link.close()
	if b.post != nil {
		b.post.close()
	}
	if b.callout != nil {
		err = errors.Join(err, b.callout.close())
	}
	if b.api != nil {
		err = errors.Join(err, b.api.close())
	}
	if b.service != nil {
		err = errors.Join(err, b.service.nodes.leave(ctx, !b.isHalted()))
	}
	for _, l := range b.lanes {
		l.close()
	}
	if b.service != nil {
		b.service.Close()
	}
	if b.system != nil {
		b.system.Close()
	}
	err = errors.Join(err, b.events.Close(ctx)) // the last answers to NATS clients go out behind it
	if b.nc != nil {
		b.nc.Close()
	}
	if b.melody != nil {
		err = errors.Join(err, b.melody.Close())
	}
	return err
}

// recovered, deferred, keeps a panic from taking the process down and logs it once.
func recovered(log *slog.Logger, what string) {
	if p := recover(); p != nil {
		log.Error("panic", "in", what, "panic", p, "stack", string(debug.Stack()))
	}
}

// Ready is nil while the bridge can serve: it is not going down, and all its connections to NATS are up.
func (b *Bridge) Ready() error {
	b.mu.Lock()
	draining := b.draining
	b.mu.Unlock()
	if draining {
		return errors.New(goingDown)
	}
	for _, nc := range b.connections() {
		if !nc.IsConnected() {
			return errors.New("NATS is away")
		}
	}
	if err := b.halting(); err != nil {
		return err
	}
	if !b.certain.Load() {
		return errors.New("NATS was away: catching up")
	}
	return nil
}

func (b *Bridge) connections() []*nats.Conn {
	all := []*nats.Conn{b.nc}
	for _, l := range b.lanes {
		all = append(all, l.nc)
	}
	return all
}
