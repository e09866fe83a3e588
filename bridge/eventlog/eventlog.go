// Package eventlog writes what happens to a JetStream stream, for programs that read along: archives, moderation,
// statistics. A dialogue that is answered with 200 while the log has a consumer is in the log.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natsutil"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/kv"
)

// OnError selects the answer to a dialogue that cannot be written to the log although the log has a consumer.
type OnError string

const (
	// Refuse answers 507. The friend has the dialogue, and the sender learns that the log does not.
	Refuse OnError = "refuse"
	// Continue answers 200 and counts the entry as lost.
	Continue OnError = "continue"
)

// Options configure a Log. The zero value of a field selects its default.
type Options struct {
	Prefix   string        // of the subjects and, in upper case, of the stream's name; default "im"
	MaxAge   time.Duration // how long an entry waits for its consumers; default 168h
	MaxBytes int64         // of entries that wait for their consumers; default 1 GiB
	Replicas int           // of the stream; default 1
	OnError  OnError       // default Refuse
	Plain    bool          // publish entries one by one: batches only pay where NATS syncs every write
	Timeout  time.Duration // from a dialogue's frame to the end of its commit; default 5s
	States   *kv.States    // notes that the stream must exist; nil: no note
	// MayWrite, if set, is called before an entry is sent to NATS. Its error refuses the entry.
	MayWrite func() error
	// Answering is called before the senders of a group of dialogues are answered. The log calls the function that it
	// returns after the last answer.
	Answering func() (end func())
	// WatchEvery is the interval at which the stream's consumers are counted, if NATS announces no change, and their lag
	// is read; default 10s.
	WatchEvery time.Duration
	Registry   prometheus.Registerer
	Log        *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "im"
	}
	if o.MaxAge == 0 {
		o.MaxAge = 168 * time.Hour
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.OnError == "" {
		o.OnError = Refuse
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.WatchEvery == 0 {
		o.WatchEvery = countEvery
	}
	if o.Answering == nil {
		o.Answering = func() func() { return func() {} }
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

// Log writes entries on <prefix>.log.> to a stream, and removes them after all its consumers have acknowledged them.
// While the stream has no consumer, the log writes nothing. While it has one, a dialogue is answered with 200 only after
// its entry is stored. No caller waits for the other events.
type Log struct {
	opts    Options
	names   subject.Prefix
	stream  string
	js      jetstream.JetStream // on the connection that receives commands
	writer  *writer
	metrics *metrics

	paused    atomic.Bool   // a restore is replacing the stream
	attached  atomic.Bool   // the stream may have a consumer; read for every dialogue
	wanted    atomic.Uint32 // bits of the kinds that a consumer may take
	offline   atomic.Bool   // a consumer may want dialogues to users that are offline
	consumers atomic.Int64
	mu        sync.Mutex // guards heldUntil
	heldUntil time.Time  // attached stays set until then, whatever the stream reports
	recount   chan struct{}
	subs      []*nats.Subscription
	stop      context.CancelFunc
	done      chan struct{}

	unpruned atomic.Int64  // bytes of stored entries that may still be in the stream
	fresh    atomic.Int64  // bytes of entries that were stored since the last removal began
	full     chan struct{} // signals that fresh is large
	pruning  sync.Mutex    // held by Prune; guards pruned
	pruned   []uint64      // by kind: sequence up to which its entries were removed

	reader   *Reader // used by watch alone, as are size and age
	size     level
	age      level
	usage    atomic.Pointer[Usage]
	watched  chan struct{}
	refusing atomic.Bool // the last entry that NATS has answered was refused, since the stream is full
	seen     atomic.Pointer[map[string]time.Time]
}

// Open creates the stream, or checks the existing one, and counts its consumers. nc must be the connection on which
// this node receives commands. The log opens a connection of its own for writing.
//
// Errors: ErrStream.
func Open(ctx context.Context, nc *nats.Conn, connect natsutil.Connect, opts Options) (_ *Log, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("event log: %w", err)
		}
	}()
	opts = opts.withDefaults()
	names := subject.Prefix(opts.Prefix)
	l := &Log{opts: opts, names: names, stream: names.LogStream(), metrics: newMetrics(opts.Registry),
		recount: make(chan struct{}, 1), done: make(chan struct{}),
		watched: make(chan struct{}, 1), full: make(chan struct{}, 1), pruned: make([]uint64, len(kinds))}
	l.wanted.Store(allKinds)
	l.offline.Store(true) // until the first reading of the consumers
	l.unpruned.Store(1)   // a crash may have left acknowledged entries
	if l.js, err = natsutil.JetStream(nc); err != nil {
		return nil, err
	}
	l.reader = NewReader(l.js, names)
	if err := ensureStream(ctx, l.js, streamConfig(opts), opts.Log); err != nil {
		return nil, err
	}
	if opts.States != nil {
		if _, err := opts.States.Expect(ctx, l.stream); err != nil {
			return nil, err
		}
	}
	// Subscribe before counting: the log hears of a consumer that is created from here on, and counts an earlier one.
	if err := l.subscribe(ctx, nc); err != nil {
		return nil, errors.Join(err, l.unsubscribe())
	}
	if l.writer, err = newWriter(connect, l); err != nil {
		return nil, errors.Join(err, l.unsubscribe())
	}
	var watch context.Context
	watch, l.stop = context.WithCancel(context.Background())
	go func() {
		defer close(l.done)
		var wg sync.WaitGroup
		wg.Go(func() { l.watch(watch) })
		wg.Go(func() { l.prune(watch) })
		wg.Wait()
	}()
	l.metrics.observe(l)
	return l, nil
}

// Close commits the queued entries and closes the log. When ctx ends, it refuses the entries that are not committed.
func (l *Log) Close(ctx context.Context) error {
	l.stop()
	<-l.done
	return errors.Join(l.unsubscribe(), l.writer.close(ctx))
}

// Attached reports whether the log is written: its stream has consumers, or may have some.
func (l *Log) Attached() bool { return l.attached.Load() && !l.paused.Load() }

// Pause stops or resumes writing and recreating the stream. A restore that replaces the stream needs it paused.
func (l *Log) Pause(paused bool) { l.paused.Store(paused) }

// Done is told once whether the sender of a dialogue may be answered with 200.
type Done interface{ Logged(ok bool) }

// Dialogue is a delivered dialogue, before its sender is answered.
type Dialogue struct {
	From, To string
	ID       []byte // JSON strings, as the sender wrote them
	Payload  []byte
	Sent     time.Time
	Done     Done
}

// AddDialogue queues the entry of a dialogue and reports true if the log is attached. The log then calls d.Done.
func (l *Log) AddDialogue(d Dialogue) bool {
	if !l.Attached() {
		return false
	}
	l.add(entry{subject: l.names.LogDialogue(d.From, d.To), data: dialogueBody(d, time.Now()), done: d.Done, expires: d.Sent.Add(l.opts.Timeout)})
	return true
}

// addEvent queues the entry of an event, if the log is attached.
func (l *Log) addEvent(subject string, fields func(e *eventBody)) {
	if !l.Attached() {
		return
	}
	now := time.Now()
	l.add(entry{subject: subject, data: newEventBody(now, fields), expires: now.Add(l.opts.Timeout)})
}

func (l *Log) add(e entry) {
	err := l.mayWrite()
	if err == nil {
		err = l.writer.add(e)
	}
	if err != nil {
		l.writer.failed(err)
		l.settle(e, false)
	}
}

// mayWrite returns an error if an entry must not be written. Without a consumer NATS stores no entry, so mayWrite
// allows it: dialogues must not fail because of a log that only may have a consumer.
func (l *Log) mayWrite() error {
	if l.consumers.Load() == 0 {
		return nil
	}
	return l.opts.MayWrite()
}

// settle counts an entry and tells the sender that waits for it.
func (l *Log) settle(e entry, written bool) {
	if written {
		l.metrics.entries.Inc()
		l.stored(int64(e.size()))
	} else if e.done == nil || l.opts.OnError == Continue {
		l.metrics.lost.Inc()
	}
	if e.done == nil {
		return
	}
	defer recovery.Log(l.opts.Log, "answer to a dialogue")
	e.done.Logged(written || l.opts.OnError == Continue)
}
