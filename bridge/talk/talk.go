// Package talk keeps conversations: it numbers dialogues, commits them in groups, and knows how far each user has
// come.
package talk

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natsutil"
	"imctl/bridge/recovery"
	"imctl/kv"
)

// ErrBusy: too many dialogues wait for their commit.
var ErrBusy = errors.New("too many dialogues wait for their commit")

// ErrStalled: conversations cannot be stored at the moment. The caller may deliver the dialogue all the same.
var ErrStalled = errors.New("conversations cannot be stored at the moment")

// Reasons why a dialogue is not stored.
var (
	errSize    = errors.New("the dialogue is larger than a NATS message may be")
	errUsers   = errors.New("not the ids of two users")
	errClosed  = errors.New("the conversations are closed")
	errExpired = errors.New("the dialogue was not committed in time")
	errLost    = errors.New("the connection to NATS is lost")
	errReset   = errors.New("a restore has replaced the conversations")
)

// Options configure a Service.
type Options struct {
	Connect  natsutil.Connect
	Talks    *kv.Talks
	Files    *kv.Files // nil: there are none
	Cursors  *kv.Cursors
	Plain    bool          // NATS does not sync each write: an atomic batch costs more than single messages
	Receipts bool          // friends see how far a user has read
	Timeout  time.Duration // of a dialogue that is not Kept: not committed by then, it is refused; default 5s
	// Wait is the same for a dialogue that is Kept: its sender waits for a new leader; default 15s, or Timeout if that is more.
	Wait time.Duration
	// StallAfter is how long a commit may take until the service is stalled; default 500ms.
	StallAfter time.Duration
	// MayWrite, if set, is called for each dialogue. While it returns an error the service is stalled, and it refuses Kept
	// dialogues with that error.
	MayWrite func() error
	// MayDeliver, if set, reports whether dialogues may be delivered before they are stored. Otherwise they wait.
	MayDeliver func() bool
	// Advanced is called after a user's client has acknowledged or read dialogues of a conversation up to got and read,
	// which are 0 if they did not change. It must not block.
	// got and read are 0 if they did not change.
	Advanced func(user, with string, got, read uint64)
	// Gather delays the flush of frames while commits are answered, until end is called.
	Gather   func() (end func())
	Registry prometheus.Registerer
	Log      *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Wait == 0 {
		o.Wait = max(15*time.Second, o.Timeout)
	}
	if o.StallAfter == 0 {
		o.StallAfter = 500 * time.Millisecond
	}
	if o.MayWrite == nil {
		o.MayWrite = func() error { return nil }
	}
	if o.MayDeliver == nil {
		o.MayDeliver = func() bool { return true }
	}
	if o.Advanced == nil {
		o.Advanced = func(string, string, uint64, uint64) {}
	}
	if o.Gather == nil {
		o.Gather = func() func() { return func() {} }
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Done takes the outcome of a dialogue. One of its methods is called once, in the order of the numbers of a
// conversation. They must not block.
type Done interface {
	// Stored: the dialogue is kept. d is valid during the call. again means that it was stored before, and that d is
	// the first one.
	Stored(d *kv.Dialogue, again bool)
	// Failed: it is not stored, as far as the server knows. Errors: wire.ProtocolError for a number that does not
	// exist or is not the sender's; all others mean 507.
	Failed(err error)
	// Unstored: it is not stored, because the service is stalled, and may be delivered all the same. d is valid during the
	// call. Only dialogues of Add that are not Kept have this outcome.
	Unstored(d *kv.Dialogue)
}

// openTimeout bounds the wait for NATS when a service starts.
const openTimeout = 10 * time.Second

// Service keeps the conversations of the users that send on this node.
type Service struct {
	opts    Options
	nc      *nats.Conn // of the writer alone
	acks    *acks
	tracker *tracker
	metrics *metrics
	seed    maphash.Seed    // of the hashes of ids
	ctx     context.Context // ends when the remaining dialogues are abandoned
	cancel  context.CancelFunc
	answers chan []*job
	wg      sync.WaitGroup // the writer and the workers
	sweeps  sync.WaitGroup // the goroutine that refuses what has expired
	settled sync.WaitGroup // the goroutine that answers
	failing atomic.Bool    // the last commit failed, and the log says so
	began   atomic.Int64   // the begin of the current commit, in Unix nanoseconds; 0 between commits
	unknown atomic.Int64   // the end of the last commit without an answer, in Unix nanoseconds
	probing atomic.Bool    // a goroutine asks whether the stream has a leader
	muted   atomic.Int64   // no reads until then, in Unix milliseconds: the last one failed
	ids     atomic.Int64   // remembered ids of all conversations
	commits chan struct{}  // holds a value during a commit or a pause
	stirred chan struct{}  // takes a value when a sweep that rests has something to do

	mu     sync.Mutex
	wake   *sync.Cond // the writer
	work   *sync.Cond // the workers
	convs  map[kv.Pair]*conversation
	lru    list.List       // of all conversations; the most recently used is at the front
	ready  []*conversation // for the writer
	tasks  []*conversation // for the workers
	count  int             // dialogues in all queues
	bytes  int             // of these dialogues
	plain  int             // of these dialogues, those that are plain
	late   lateQueue
	busy   int           // conversations that are busy
	rests  bool          // the sweep waits for stirred, since there is nothing that it keeps time for
	want   int           // conversations in ready that the writer waits for; 0: it does not wait
	enough chan struct{} // takes a value when ready has that many
	closed bool
	// After Close the dialogues wait no longer than until closeBy.
	closeBy time.Time
	abort   context.CancelFunc // ends the wait for the current commit; nil between commits
}

// Open starts a service.
func Open(ctx context.Context, opts Options) (_ *Service, err error) {
	opts = opts.withDefaults()
	s := &Service{opts: opts, seed: maphash.MakeSeed(), answers: make(chan []*job, 4), enough: make(chan struct{}, 1), convs: make(map[kv.Pair]*conversation)}
	s.commits, s.stirred = make(chan struct{}, 1), make(chan struct{}, 1)
	s.wake, s.work = sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// While NATS is unreachable nothing is buffered, and a commit under way fails at once.
	s.nc, err = opts.Connect("imctl talks", nats.ReconnectBufSize(-1), nats.DisconnectErrHandler(s.disconnected))
	if err != nil {
		return nil, fmt.Errorf("conversations: connect to NATS: %w", err)
	}
	if s.acks, err = newAcks(s.nc, opts.Talks.Stream()); err == nil {
		ctx, cancel := context.WithTimeout(ctx, openTimeout)
		err = s.nc.FlushWithContext(ctx)
		cancel()
	}
	if err != nil {
		s.nc.Close()
		return nil, fmt.Errorf("conversations: subscribe to acknowledgements: %w", err)
	}
	s.metrics = newMetrics(opts.Registry, s)
	s.tracker = newTracker(s)
	s.wg.Go(s.write)
	for range workers {
		s.wg.Go(s.serve)
	}
	s.sweeps.Go(s.sweep)
	s.settled.Go(s.answer)
	return s, nil
}

// Close commits what waits. When ctx ends, or after Options.Timeout, it refuses the rest.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.storeLate(len(s.late.items))
	s.closed, s.closeBy = true, time.Now().Add(s.opts.Timeout)
	s.wake.Broadcast()
	s.work.Broadcast()
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("%d dialogues are not stored: %w", s.waiting(), ctx.Err())
		s.cancel()
		s.giveUp()
		<-done
	}
	s.cancel()
	s.sweeps.Wait()
	close(s.answers)
	s.settled.Wait()
	err = errors.Join(err, s.tracker.close(ctx))
	s.nc.Close()
	return err
}

// giveUp ends the wait for the current commit, and wakes all goroutines.
func (s *Service) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abort != nil {
		s.abort()
	}
	s.wake.Broadcast()
	s.work.Broadcast()
}

// Abort ends the wait for the current commit, since its acknowledgements are lost with the connection to NATS. The
// dialogues wait for the next connection.
func (s *Service) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abort != nil {
		s.abort()
	}
}

func (s *Service) disconnected(*nats.Conn, error) { s.Abort() }

// waiting returns how many dialogues wait.
func (s *Service) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// waitingLate returns how many delivered dialogues wait.
func (s *Service) waitingLate() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.late.items)
}

// settle hands jobs to the goroutine that answers. The caller must not hold s.mu.
func (s *Service) settle(jobs []*job) {
	if len(jobs) > 0 {
		s.answers <- jobs
	}
}

// answer tells the senders the outcome of their dialogues, while the next commit runs.
func (s *Service) answer() {
	for jobs := range s.answers {
		end := s.opts.Gather()
		for _, j := range jobs {
			s.answerJob(j)
		}
		end()
	}
}

func (s *Service) answerJob(j *job) {
	if j.err == nil && len(j.dialogues) > 0 {
		s.tracker.committed(j.conv.pair, j.rec.Last)
	}
	plain, fixed := 0, 0
	for _, it := range j.items {
		if it.done == nil { // it was answered before
			continue
		}
		if it.plain() {
			plain++
		}
		if it.fixed {
			fixed++
		}
		s.answerItem(j, it)
	}
	if plain > 0 { // only now: later ones to the same friend must not overtake them
		s.mu.Lock()
		j.conv.plain -= plain
		j.conv.fixed -= fixed
		s.mu.Unlock()
	}
	for _, it := range j.items {
		freeItem(it)
	}
	freeJob(j)
}

func (s *Service) answerItem(j *job, it *item) {
	defer recovery.Log(s.opts.Log, "answer to a dialogue")
	switch {
	case it.err != nil:
		s.metrics.failed.Inc()
		it.done.Failed(it.err)
	case it.stored != nil:
		s.metrics.again.Inc()
		it.done.Stored(it.stored, true)
	case errors.Is(j.err, ErrStalled):
		s.metrics.live.Inc()
		it.done.Unstored(&it.d)
	case j.err != nil:
		s.metrics.failed.Inc()
		it.done.Failed(j.err)
	case it.again:
		s.metrics.again.Inc()
		it.done.Stored(&j.rec.Dialogues[it.index], true)
	default:
		s.metrics.stored.Inc()
		it.done.Stored(&j.rec.Dialogues[it.index], false)
	}
}
