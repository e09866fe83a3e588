// Package audit keeps the audit trail: logins and failed logins, the actions of administrators, and the limits that were
// reached. It is a JetStream stream of its own. Unlike the event log, it is always written, no program has to read it,
// and it never delays or refuses what it records.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natsutil"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/kv"
	"imctl/kv/batch"
)

// Options configure a Trail. The zero value of a field selects its default.
type Options struct {
	Prefix   string        // of the subjects and, in upper case, of the stream's name; default "im"
	MaxAge   time.Duration // older entries are dropped; default 2160h
	MaxBytes int64         // of the stream; default 64 MiB
	Replicas int           // of the stream; default 1
	Node     string        // of the entries
	Store    *kv.Store     // to note that the stream must exist, and to find the users of failed logins; may be nil
	// MayWrite, if set, is called before entries are written. While it returns an error, they wait.
	MayWrite func() error
	Registry prometheus.Registerer
	Log      *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "im"
	}
	if o.MaxAge == 0 {
		o.MaxAge = 2160 * time.Hour
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.MayWrite == nil {
		o.MayWrite = func() error { return nil }
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

const (
	queueEvents = 8192 // that wait to be written; further ones are lost
	groupEvents = 512  // that are written at once
	writeWait   = 5 * time.Second
	retryAfter  = time.Second
	reportEvery = time.Minute // of the log lines about lost events
)

// Trail writes events. Its methods never wait, except Flush and Close.
type Trail struct {
	opts    Options
	names   subject.Prefix
	nc      *nats.Conn
	js      jetstream.JetStream
	metrics *metrics
	batches string // prefix of the ids of batches
	batch   uint64
	ctx     context.Context // ends when the remaining events are abandoned
	cancel  context.CancelFunc
	done    chan struct{}
	wake    chan struct{} // has room for one

	mu       sync.Mutex // guards the fields below
	queue    []pending
	windows  map[Kind]*window
	added    uint64 // events that were queued
	settled  uint64 // events that were written or given up
	changed  chan struct{}
	failing  error // of the last try to write
	closed   bool
	lost     int // since the last log line about them
	reported time.Time
}

// pending is a queued event.
type pending struct {
	Event
	account string // what a client typed, which leads to the subject and is not stored; or ""
}

// Open creates the stream, or checks the existing one, and starts to write. The trail has a connection of its own.
//
// Errors: ErrStream.
func Open(ctx context.Context, connect natsutil.Connect, opts Options) (_ *Trail, err error) {
	opts = opts.withDefaults()
	t := &Trail{opts: opts, names: subject.Prefix(opts.Prefix), metrics: newMetrics(opts.Registry), batches: kv.NewID(), windows: newWindows(),
		done: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{})}
	if t.nc, err = connect("imctl audit", nats.ReconnectBufSize(-1)); err != nil {
		return nil, fmt.Errorf("audit trail: connect to NATS: %w", err)
	}
	defer func() {
		if err != nil {
			t.nc.Close()
		}
	}()
	if t.js, err = natsutil.JetStream(t.nc); err != nil {
		return nil, fmt.Errorf("audit trail: %w", err)
	}
	if err := t.prepare(ctx); err != nil {
		if opts.MayWrite() == nil {
			return nil, fmt.Errorf("audit trail: %w", err)
		}
		opts.Log.Warn("the audit trail is not written yet", "err", err) // the writer creates the stream later
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	go t.run()
	return t, nil
}

// prepare creates the stream and notes that it must exist.
func (t *Trail) prepare(ctx context.Context) error {
	if err := ensureStream(ctx, t.js, streamConfig(t.opts), t.opts.Log); err != nil {
		return err
	}
	if t.opts.Store == nil {
		return nil
	}
	_, err := t.opts.Store.States.Expect(ctx, t.names.AuditStream())
	return err
}

// Add queues an event. It sets the time and the node.
func (t *Trail) Add(e Event) { t.add(pending{Event: e}) }

// LoggedIn adds a login. how is the kind of the credentials and the door.
func (t *Trail) LoggedIn(actor Ref, address, how string) {
	t.Add(Event{Event: LoginDone, Actor: actor, Address: address, Detail: how})
}

// LoginFailed adds a login with wrong credentials. account is the account or the id that the client sent. The entry has
// the id of that user, if the user exists. It never has the text itself, which may be a password.
func (t *Trail) LoginFailed(address, account, how string) {
	t.add(pending{Event{Event: LoginFailed, Actor: Ref{Kind: Client}, Address: address, Detail: how}, account})
}

func (t *Trail) add(p pending) {
	p.Time, p.Node = time.Now().UTC().Truncate(time.Millisecond), t.opts.Node
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(p.Time, false)
	if w := t.windows[p.Event.Event]; w != nil && !w.admit(p.Event) {
		return
	}
	t.enqueue(p)
}

// roll queues the summaries of windows that have ended, or of all at the end. Its caller holds mu.
func (t *Trail) roll(now time.Time, end bool) {
	for kind, w := range t.windows {
		if !end && !w.ended(now) {
			continue
		}
		for _, e := range w.roll(kind, now) {
			e.Node = t.opts.Node
			t.enqueue(pending{Event: e})
		}
	}
}

// enqueue queues an event, or counts it as lost. Its caller holds mu.
func (t *Trail) enqueue(p pending) {
	if t.closed || len(t.queue) >= queueEvents {
		t.lose(1)
		return
	}
	t.queue = append(t.queue, p)
	t.added++
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// lose counts lost events, and logs them at most once a minute. Its caller holds mu.
func (t *Trail) lose(n int) {
	t.metrics.lost.Add(float64(n))
	t.lost += n
	t.reportLost()
}

func (t *Trail) reportLost() {
	if now := time.Now(); t.lost > 0 && now.Sub(t.reported) >= reportEvery {
		t.opts.Log.Error("entries of the audit trail are lost", "count", t.lost, "err", t.failing)
		t.lost, t.reported = 0, now
	}
}

// Flush returns when the events that were added before are stored. It does not wait while NATS stores nothing.
//
// Errors: the reason why the events are not stored, or that of ctx. They stay queued.
func (t *Trail) Flush(ctx context.Context) error {
	t.mu.Lock()
	target := t.added
	t.mu.Unlock()
	for {
		t.mu.Lock()
		done, failing, changed := t.settled >= target, t.failing, t.changed
		t.mu.Unlock()
		if done || failing != nil {
			return failing
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("write the audit trail: %w", ctx.Err())
		}
	}
}

// Close writes the queued events, and the summaries of the current minute. When ctx ends, it gives up the rest.
func (t *Trail) Close(ctx context.Context) error {
	t.mu.Lock()
	if !t.closed {
		t.roll(time.Now().UTC().Truncate(time.Millisecond), true)
		t.closed = true
		close(t.wake)
	}
	t.mu.Unlock()
	defer t.nc.Close()
	select {
	case <-t.done:
	case <-ctx.Done():
		t.cancel()
		<-t.done
	}
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.queue); n > 0 {
		t.lose(n)
		return fmt.Errorf("%d entries of the audit trail are not written: %w", n, errors.Join(t.failing, ctx.Err()))
	}
	return nil
}

// run writes the queued events until Close, or until ctx ends.
func (t *Trail) run() {
	defer close(t.done)
	defer recovery.Log(t.opts.Log, "audit trail")
	minute := time.NewTicker(windowLength)
	defer minute.Stop()
	for open := true; open; {
		select {
		case _, open = <-t.wake:
		case now := <-minute.C:
			t.mu.Lock()
			t.roll(now.UTC().Truncate(time.Millisecond), false)
			t.reportLost()
			t.mu.Unlock()
		}
		for t.writeGroup() {
		}
	}
}

// writeGroup writes the oldest events, and returns false if there are none, or if the writer must end.
func (t *Trail) writeGroup() bool {
	t.mu.Lock()
	group := t.queue[:min(len(t.queue), groupEvents)]
	t.mu.Unlock()
	if len(group) == 0 {
		return false
	}
	err := t.opts.MayWrite()
	if err == nil {
		err = t.write(group)
	}
	t.settle(len(group), err)
	if err == nil {
		return true
	}
	t.mu.Lock()
	closed := t.closed
	t.mu.Unlock()
	if closed { // one try is enough, so that a shutdown does not wait for NATS
		return false
	}
	select {
	case <-time.After(retryAfter):
	case <-t.ctx.Done():
		return false
	}
	return true
}

// settle notes the outcome of a try to write the first n events. After an error they stay queued.
func (t *Trail) settle(n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && t.failing == nil {
		t.opts.Log.Warn("write the audit trail", "err", err)
	}
	t.failing = err
	if err == nil {
		t.metrics.entries.Add(float64(n))
		clear(t.queue[:n])
		t.queue = t.queue[n:]
		if len(t.queue) == 0 {
			t.queue = nil
		}
		t.settled += uint64(n)
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// write stores events. After an error some may be stored, and a later try stores them again.
func (t *Trail) write(group []pending) error {
	ctx, cancel := context.WithTimeout(t.ctx, writeWait)
	defer cancel()
	subjects, bodies := make([]string, len(group)), make([][]byte, len(group))
	for i, p := range group {
		if p.account != "" {
			p.Subject = t.userOf(ctx, p.account)
		}
		t.batch++
		subjects[i], bodies[i] = t.names.Audit(classOf(p.Event.Event).name, p.share(t.batch)), p.body()
	}
	err := t.publish(ctx, subjects, bodies)
	if err == nil || ctx.Err() != nil || !t.nc.IsConnected() {
		return err
	}
	// The stream may have been deleted.
	if _, missing := t.js.Stream(ctx, t.names.AuditStream()); errors.Is(missing, jetstream.ErrStreamNotFound) {
		t.opts.Log.Warn("the stream of the audit trail is missing: creating it", "stream", t.names.AuditStream())
		return errors.Join(err, ensureStream(ctx, t.js, streamConfig(t.opts), t.opts.Log))
	}
	return err
}

func (t *Trail) publish(ctx context.Context, subjects []string, bodies [][]byte) error {
	if len(bodies) == 1 {
		_, err := t.js.Publish(ctx, subjects[0], bodies[0], jetstream.WithExpectStream(t.names.AuditStream()), jetstream.WithRetryAttempts(0))
		return err
	}
	_, err := batch.Batch{
		ID:      t.batches + strconv.FormatUint(t.batch, 36),
		Size:    len(bodies),
		Message: func(i int, m *nats.Msg) { m.Subject, m.Data = subjects[i], bodies[i] },
	}.Publish(ctx, t.nc)
	return err
}

// userOf returns the user with that id or account, or the zero Ref.
func (t *Trail) userOf(ctx context.Context, account string) Ref {
	if t.opts.Store == nil {
		return Ref{}
	}
	if kv.ValidID(account) {
		if u, err := t.opts.Store.Users.Get(ctx, account); err == nil {
			return Ref{User, u.ID}
		}
	}
	u, err := t.opts.Store.Users.ByAccount(ctx, account)
	if err != nil { // there is no such user; after any other error, the entry is worth more than its subject
		return Ref{}
	}
	return Ref{User, u.ID}
}
