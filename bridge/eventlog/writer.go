package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"imctl/bridge/natsutil"
	"imctl/kv"
)

// Where NATS syncs every write, an atomic batch of two entries costs about as much as one of some hundreds. So the log
// commits entries in groups: entries that arrive during a commit make up the next group.
const (
	groupEntries = 512     // NATS takes batches of up to 1,000
	groupBytes   = 1 << 20 // a larger entry is a group of its own
	queueEntries = 64 << 10
	queueBytes   = 64 << 20
)

// Reasons why the queue refuses an entry.
var (
	errLogFull   = errors.New("too many entries are waiting for their commit")
	errLogSize   = errors.New("the entry is larger than a NATS message may be")
	errLogClosed = errors.New("the log is closed")
)

const (
	// commitTries bounds the tries of a commit that NATS refuses for a temporary reason.
	commitTries = 5
	// commitRetry is the pause between two tries.
	commitRetry = 20 * time.Millisecond
	// gatherShare is the part of the last commit's time that the next one waits for more entries at most.
	gatherShare = 2
	// gatherEntries is the size of a group that waits for no more entries. The cost of its batch is a small part of the
	// cost of its entries.
	gatherEntries = 256
)

// writer commits entries on a connection of its own, one group after the other.
type writer struct {
	log      *Log
	nc       *nats.Conn
	js       jetstream.JetStream // on nc
	replicas int
	batches  string // prefix of the ids of this writer's batches
	batch    uint64
	lastID   uint64          // of an entry
	plainIDs bool            // NATS takes no ids in batches
	ctx      context.Context // ends when the remaining entries are abandoned
	cancel   context.CancelFunc
	settled  chan settled
	wg       sync.WaitGroup
	failing  atomic.Bool // the last commit failed, and the log says so

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []*group // the last one still takes entries
	gather gather   // of the next group
	count  int      // entries in queue
	bytes  int      // of the entries in queue
	closed bool
	abort  context.CancelFunc // cancels the current try; nil between tries
}

// group is a set of entries that one commit writes.
type group struct {
	entries []entry
	bytes   int
}

// gather lets the next commit wait for the dialogues that the senders of the last group send after their answers. An
// atomic batch costs the server as much as a hundred of its entries, so it pays to share it.
type gather struct {
	entries int  // in the queue, end the wait; 0: no wait
	over    bool // the time of the wait has passed
}

// settled is the outcome of some entries.
type settled struct {
	entries []entry
	written bool
}

var groupPool = sync.Pool{New: func() any { return &group{entries: make([]entry, 0, groupEntries)} }}

func newWriter(connect natsutil.Connect, l *Log) (*writer, error) {
	w := &writer{log: l, replicas: l.opts.Replicas, batches: kv.NewID(), settled: make(chan settled, 4)}
	w.wake = sync.NewCond(&w.mu)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	var err error
	// While NATS is unreachable nothing is buffered, and a commit under way fails at once.
	w.nc, err = connect("imctl log", nats.ReconnectBufSize(-1), nats.DisconnectErrHandler(w.disconnected))
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if w.js, err = natsutil.JetStream(w.nc, jetstream.WithPublishAsyncTimeout(l.opts.Timeout)); err != nil {
		w.nc.Close()
		return nil, err
	}
	w.wg.Go(w.run)
	w.wg.Go(w.answer)
	return w, nil
}

// close commits the queued entries. When ctx ends, it refuses the rest.
func (w *writer) close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.wake.Signal()
	w.mu.Unlock()
	done := make(chan struct{})
	go func() { w.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("%d entries of the event log are not written: %w", w.len(), ctx.Err())
		w.cancel()
		<-done
	}
	w.cancel()
	w.nc.Close()
	return err
}

func (w *writer) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// add queues an entry.
func (w *writer) add(e entry) error {
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
	if w.count++; w.count == 1 || w.count == w.gather.entries {
		w.wake.Signal()
	}
	return nil
}

// next waits for a group. It returns nil after the last one.
func (w *writer) next() *group {
	w.mu.Lock()
	defer w.mu.Unlock()
	for (len(w.queue) == 0 || w.count < w.gather.entries && !w.gather.over) && !w.closed {
		w.wake.Wait()
	}
	w.gather = gather{}
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

func (w *writer) run() {
	defer close(w.settled)
	gathered := time.AfterFunc(time.Hour, w.endGather)
	defer gathered.Stop()
	for g := w.next(); g != nil; g = w.next() {
		gathered.Stop()
		n, started := len(g.entries), time.Now()
		w.commit(g.entries)
		if n > plainEntries && !w.log.opts.Plain {
			w.gatherNext(n)
			gathered.Reset(time.Since(started) / gatherShare)
		}
	}
}

// gatherNext lets the next commit wait until as many entries are queued as the last group had, besides those that are
// waiting already, at most gatherEntries.
func (w *writer) gatherNext(last int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gather = gather{entries: min(w.count+last, gatherEntries)}
}

// endGather ends the wait of gatherNext.
func (w *writer) endGather() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gather.over = true
	w.wake.Signal()
}

// answer settles entries while the next group is being committed.
func (w *writer) answer() {
	for s := range w.settled {
		end := w.log.opts.Answering()
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

// commit writes the entries, with retries where these may help, and settles each of them once.
func (w *writer) commit(entries []entry) {
	for n := 1; len(entries) > 0; n++ {
		started := time.Now()
		written, left, err := w.try(entries, started)
		if len(written) > 0 || err != nil {
			full := isFull(err)
			if !w.log.refusing.Swap(full) && full {
				w.log.requestCount() // dialogues wait for a forgotten consumer to be detached
			}
		}
		if len(written) > 0 {
			w.log.metrics.group.Observe(float64(len(written)))
			w.settled <- settled{written, true}
		}
		if err == nil {
			w.log.metrics.commit.Observe(time.Since(started).Seconds())
			if w.failing.CompareAndSwap(true, false) {
				w.log.opts.Log.Info("the event log can be written again")
			}
			return
		}
		w.failed(err)
		if !w.retry(err, n) {
			w.settled <- settled{left, false}
			return
		}
		entries = w.dropExpired(left)
	}
}

// failed logs that entries are not written, once until a commit succeeds.
func (w *writer) failed(err error) {
	if w.failing.CompareAndSwap(false, true) {
		w.log.opts.Log.Error("the event log cannot be written", "on_error", w.log.opts.OnError, "err", err)
	}
}

// apiCode returns JetStream's code of an error, 0 for none.
func apiCode(err error) jetstream.ErrorCode {
	var e *jetstream.APIError
	if errors.As(err, &e) {
		return e.ErrorCode
	}
	return 0
}

// isFull reports whether NATS has refused a message since the stream has reached its limit of bytes. There is no code
// for that, only a text.
func isFull(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && strings.Contains(e.Description, "maximum bytes exceeded")
}

// retry waits before the n+1st try of a commit. It returns false if a retry is of no use.
func (w *writer) retry(err error, n int) bool {
	if w.ctx.Err() != nil || !w.nc.IsConnected() {
		return false
	}
	switch apiCode(err) {
	case jetstreamext.JSErrCodeBatchPublishIncomplete, jetstreamext.JSErrCodeAtomicPublishTooManyInflight:
		if n >= commitTries {
			return false
		}
	default:
		// While several replicas elect a leader, JetStream does not answer.
		electing := w.clustered() && (errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
			apiCode(err) == codeDuplicateInProcess)
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

// dropExpired refuses the expired entries and returns the others.
func (w *writer) dropExpired(entries []entry) []entry {
	now := time.Now()
	var late, left []entry
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
