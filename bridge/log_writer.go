package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// A commit costs the disk about the same for one entry as for some hundred, so entries are committed in groups: what is
// accepted while one group is under way makes the next. An entry that is alone needs no batch.
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
	// commitFloor is the least that one try may take, however late its oldest entry is: cutting a commit short that is
	// about to succeed would make all its other entries be written twice.
	commitFloor = time.Second
)

// headerRoom is what NATS adds to an entry in a batch, and to spare.
const headerRoom = 512

// logWriter commits entries, one group after the other, on a connection of its own.
type logWriter struct {
	log      *EventLog
	nc       *nats.Conn
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
		for _, e := range s.entries {
			w.log.settle(e, s.written)
		}
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
		err := w.try(entries, started)
		if err == nil {
			w.log.metrics.commit.Observe(time.Since(started).Seconds())
			w.log.metrics.group.Observe(float64(len(entries)))
			if w.failing.CompareAndSwap(true, false) {
				w.log.o.Log.Info("the event log is written again")
			}
			w.settled <- settled{entries, true}
			return
		}
		w.trouble(err)
		if !w.again(err, n) {
			w.settled <- settled{entries, false}
			return
		}
		entries = w.dropExpired(entries)
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
	case codeBatchIncomplete, codeTooManyBatches:
		if n >= commitTries {
			return false
		}
	default:
		// With several replicas there is nobody to answer while they elect a leader.
		electing := w.replicas > 1 && errors.Is(err, nats.ErrNoResponders)
		if !passing(err) && !electing {
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

// try writes the entries, all or none. After an error other than NATS's own it is not known which.
func (w *logWriter) try(entries []logEntry, now time.Time) error {
	limit := entries[0].expires
	for _, e := range entries[1:] {
		if e.expires.Before(limit) {
			limit = e.expires
		}
	}
	if floor := now.Add(commitFloor); limit.Before(floor) {
		limit = floor
	}
	ctx, cancel := context.WithDeadline(w.ctx, limit)
	defer cancel()
	w.mu.Lock()
	w.abort = cancel
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.abort = nil
		w.mu.Unlock()
	}()
	m := &nats.Msg{}
	if len(entries) > 1 {
		m.Header = nats.Header{}
	}
	if err := ctx.Err(); err != nil { // a batch that is staged and never committed is a burden on the server
		return err
	}
	if err := w.stage(m, entries); err != nil {
		return err
	}
	reply, err := w.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return fmt.Errorf("commit %d entries: %w", len(entries), err)
	}
	return w.acknowledged(reply.Data, len(entries))
}

// stage publishes all entries but the last, and makes the message of the last, which commits them.
func (w *logWriter) stage(m *nats.Msg, entries []logEntry) error {
	last := len(entries) - 1
	if last > 0 {
		w.batch++
		m.Header["Nats-Batch-Id"] = []string{w.batches + strconv.FormatUint(w.batch, 36)}
	}
	seq := []string{""}
	for i, e := range entries {
		m.Subject, m.Data = e.subject, e.data
		if last == 0 {
			return nil
		}
		seq[0] = strconv.Itoa(i + 1)
		m.Header["Nats-Batch-Sequence"] = seq
		if i == last {
			m.Header["Nats-Batch-Commit"] = []string{"1"}
			return nil
		}
		if err := w.nc.PublishMsg(m); err != nil {
			return fmt.Errorf("stage %d entries: %w", len(entries), err)
		}
	}
	return nil
}

// acknowledged is nil if the answer says that our stream has all n entries.
func (w *logWriter) acknowledged(data []byte, n int) error {
	var ack struct {
		Stream string              `json:"stream"`
		Count  int                 `json:"count"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return fmt.Errorf("acknowledgement of %d entries: %w", n, err)
	}
	switch {
	case ack.Error != nil:
		return fmt.Errorf("commit %d entries: %w", n, ack.Error)
	case ack.Stream != w.log.stream:
		return fmt.Errorf("%w: %q has taken the entries", ErrLogStream, ack.Stream)
	case n > 1 && ack.Count != n:
		return fmt.Errorf("commit %d entries: NATS counts %d", n, ack.Count)
	}
	return nil
}

// disconnected ends the try under way: its answer will not come.
func (w *logWriter) disconnected(*nats.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abort != nil {
		w.abort()
	}
}
