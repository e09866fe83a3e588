package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"imctl/kv"
)

// Where every write is synced, an atomic batch costs about the same for two entries as for some hundred. So entries are
// committed in groups: what is accepted while one group is under way makes the next.
const (
	groupEntries = 512     // NATS takes batches of up to 1,000
	groupBytes   = 1 << 20 // or one entry, if it is larger
	queueEntries = 64 << 10
	queueBytes   = 64 << 20
)

// What does not fit into the queue is not written.
var (
	errLogFull   = errors.New("too many entries wait for their commit")
	errLogSize   = errors.New("larger than a message of NATS may be")
	errLogClosed = errors.New("the log is closed")
)

const (
	// commitTries bounds how often a commit is tried that NATS refuses for what may pass at once.
	commitTries = 5
	// commitRetry is how long it waits between.
	commitRetry = 20 * time.Millisecond
)

// logWriter commits entries, one group after the other, on a connection of its own.
type logWriter struct {
	log      *EventLog
	nc       *nats.Conn
	js       jetstream.JetStream // on nc
	replicas int
	batches  string // what the ids of this writer's batches begin with
	batch    uint64
	ctx      context.Context // ends when what is left is to be given up
	cancel   context.CancelFunc
	settled  chan settled
	wg       sync.WaitGroup
	failing  atomic.Bool // the last commit did; told once

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []*group // the last one is still being filled
	count  int      // entries in queue
	bytes  int      // of them
	closed bool
	abort  context.CancelFunc // ends the try under way; nil between
}

// group is what is committed together.
type group struct {
	entries []logEntry
	bytes   int
}

// settled is what became of some entries.
type settled struct {
	entries []logEntry
	written bool
}

var groupPool = sync.Pool{New: func() any { return &group{entries: make([]logEntry, 0, groupEntries)} }}

func newLogWriter(connect func(name string, opts ...nats.Option) (*nats.Conn, error), l *EventLog) (*logWriter, error) {
	w := &logWriter{log: l, replicas: l.o.Replicas, batches: kv.NewID(), settled: make(chan settled, 4)}
	w.wake = sync.NewCond(&w.mu)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	var err error
	// Nothing is held back while NATS is away, and what is under way then fails at once.
	w.nc, err = connect("imctl log", nats.ReconnectBufSize(-1), nats.DisconnectErrHandler(w.disconnected))
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if w.js, err = jetstream.New(w.nc, jetstream.WithPublishAsyncTimeout(l.o.Timeout)); err != nil {
		w.nc.Close()
		return nil, err
	}
	w.wg.Go(w.run)
	w.wg.Go(w.answer)
	return w, nil
}

// close commits what is queued. It gives up what is left when ctx is done.
func (w *logWriter) close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.wake.Signal()
	w.mu.Unlock()
	gone := make(chan struct{})
	go func() { w.wg.Wait(); close(gone) }()
	var err error
	select {
	case <-gone:
	case <-ctx.Done():
		err = fmt.Errorf("%d entries of the event log given up: %w", w.len(), ctx.Err())
		w.cancel()
		<-gone
	}
	w.cancel()
	w.nc.Close()
	return err
}

func (w *logWriter) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// add queues an entry.
func (w *logWriter) add(e logEntry) error {
	size := e.size()
	if int64(size+headerRoom) > w.nc.MaxPayload() {
		return errLogSize
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errLogClosed
	}
	if w.count >= queueEntries || w.bytes+size > queueBytes {
		return errLogFull
	}
	var g *group
	if n := len(w.queue); n > 0 && len(w.queue[n-1].entries) < groupEntries && w.queue[n-1].bytes+size <= groupBytes {
		g = w.queue[n-1]
	} else {
		g = groupPool.Get().(*group)
		w.queue = append(w.queue, g)
	}
	g.entries = append(g.entries, e)
	g.bytes += size
	w.bytes += size
	if w.count++; w.count == 1 {
		w.wake.Signal()
	}
	return nil
}

// next waits for a group, and returns nil when there will be no more.
func (w *logWriter) next() *group {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 && !w.closed {
		w.wake.Wait()
	}
	if len(w.queue) == 0 {
		return nil
	}
	g := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	w.count -= len(g.entries)
	w.bytes -= g.bytes
	return g
}

func (w *logWriter) run() {
	defer close(w.settled)
	for g := w.next(); g != nil; g = w.next() {
		w.commit(g.entries)
	}
}

// answer tells who waits, while the next group is under way already.
func (w *logWriter) answer() {
	for s := range w.settled {
		end := w.log.o.Answering()
		for _, e := range s.entries {
			w.log.settle(e, s.written)
		}
		end()
		if cap(s.entries) == groupEntries {
			clear(s.entries)
			groupPool.Put(&group{entries: s.entries[:0]})
		}
	}
}

// commit writes the entries, trying again where that may help, and sees to it that each is settled.
func (w *logWriter) commit(entries []logEntry) {
	for n := 1; len(entries) > 0; n++ {
		started := time.Now()
		written, left, err := w.try(entries, started)
		if len(written) > 0 {
			w.log.metrics.group.Observe(float64(len(written)))
			w.settled <- settled{written, true}
		}
		if err == nil {
			w.log.metrics.commit.Observe(time.Since(started).Seconds())
			if w.failing.CompareAndSwap(true, false) {
				w.log.o.Log.Info("the event log is written again")
			}
			return
		}
		w.trouble(err)
		if !w.again(err, n) {
			w.settled <- settled{left, false}
			return
		}
		entries = w.dropExpired(left)
	}
}

// trouble logs that something is not written, once until a commit succeeds.
func (w *logWriter) trouble(err error) {
	if w.failing.CompareAndSwap(false, true) {
		w.log.o.Log.Error("the event log is not written", "on_error", w.log.o.OnError, "err", err)
	}
}

// again waits before the n+1st try of a commit, and reports false where there is no use in one.
func (w *logWriter) again(err error, n int) bool {
	if w.ctx.Err() != nil || !w.nc.IsConnected() {
		return false
	}
	switch apiCode(err) {
	case jetstreamext.JSErrCodeBatchPublishIncomplete, jetstreamext.JSErrCodeAtomicPublishTooManyInflight:
		if n >= commitTries {
			return false
		}
	default:
		// With several replicas there is nobody to answer while they elect a leader.
		electing := w.replicas > 1 && (errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse))
		if !kv.Transient(err) && !electing {
			return false
		}
	}
	select {
	case <-w.ctx.Done():
		return false
	case <-time.After(commitRetry):
		return true
	}
}

// dropExpired settles the entries whose time is up and returns the others.
func (w *logWriter) dropExpired(entries []logEntry) []logEntry {
	now := time.Now()
	var late, left []logEntry
	for _, e := range entries {
		if now.Before(e.expires) {
			left = append(left, e)
		} else {
			late = append(late, e)
		}
	}
	w.settled <- settled{late, false}
	return left
}
