package governor

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// Class is a kind of work that has a share of a Queue.
type Class int

// The classes, by falling share. Work without a caller, such as that of the administrator, is Administration.
const (
	Administration Class = iota
	Known                // logins from known devices, and by token
	People               // first logins and registrations
	Programs             // logins of NATS clients
	Changes              // new passwords of users that are logged in
	Suspects             // logins from addresses with many failures
	classes
)

// weights are the shares of the classes: of two classes with waiting work, one gets twice the places of the other if
// its weight is twice that of the other.
var weights = [classes]uint64{Administration: 16, Known: 16, People: 8, Programs: 8, Changes: 4, Suspects: 1}

// stride is the least common multiple of the weights.
const stride = 16

type callerKey struct{}

// caller is the work's class, the address or the user that it is for, and the account.
type caller struct {
	class           Class
	source, account string
}

// WithCaller returns a context whose work waits in the given class, behind other work of the same source and account
// only. source is an address or the id of a user.
func WithCaller(ctx context.Context, class Class, source, account string) context.Context {
	return context.WithValue(ctx, callerKey{}, caller{class, source, keyOf("", account).key})
}

// QueueOptions configure a Queue.
type QueueOptions struct {
	Places  int           // concurrent work
	Wait    time.Duration // the longest wait for a place
	Busy    error         // returned after that, and at once if the queue of the source or the class is full
	Refused func(source string)
	Source  int // work of one source that waits in a class; 0: maxSource
}

const (
	maxSource = 512  // work of one source that waits in a class, unless QueueOptions.Source says otherwise
	maxClass  = 4096 // work that waits in a class

	// suspectPause is the time between two places for suspects. Without it they would have every place that is free, and
	// the processor would be busy with guesses for as long as an attack lasts.
	suspectPause = 250 * time.Millisecond
)

// Queue hands out places fairly. The classes share them by their weights. Within a class the sources take turns, and
// within a source its accounts. So one source delays another only by the work that is under way. It is safe for
// concurrent use.
type Queue struct {
	opts QueueOptions

	mu    sync.Mutex // guards the fields below
	free  int
	pass  uint64 // of the class that was served last
	queue [classes]classQueue
	// paused is set while suspects wait for the end of their pause.
	paused *time.Timer
}

// classQueue is the waiting work of a class.
type classQueue struct {
	pass    uint64 // the class with the lowest pass is next
	waiting int
	turns   list.List // of *sourceQueue
	sources map[string]*sourceQueue
}

// sourceQueue is the waiting work of a source.
type sourceQueue struct {
	name     string
	turn     *list.Element
	waiting  int
	turns    list.List // of *accountQueue
	accounts map[string]*accountQueue
}

// accountQueue is the waiting work for an account, in order.
type accountQueue struct {
	name string
	turn *list.Element
	work list.List // of *waiter
}

// waiter is work that waits.
type waiter struct {
	caller caller
	turn   *list.Element // nil: it has its place, or has left
	ready  chan struct{} // closed when it has its place
}

// NewQueue returns a queue with all places free.
func NewQueue(opts QueueOptions) *Queue {
	q := &Queue{opts: opts, free: opts.Places}
	for i := range q.queue {
		q.queue[i].sources = make(map[string]*sourceQueue)
	}
	return q
}

// Enter waits for a place, which the caller must give back by leave. A caller keeps its place if its context ends
// meanwhile. Errors: QueueOptions.Busy, and that of ctx.
func (q *Queue) Enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	by, _ := ctx.Value(callerKey{}).(caller)
	w, ok := q.join(by)
	if !ok {
		return nil, q.busy(by)
	}
	timeout := time.NewTimer(q.opts.Wait)
	defer timeout.Stop()
	select {
	case <-w.ready:
		return q.leave, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = q.opts.Busy
	}
	if !q.cancel(w) { // its place came at the same moment
		return q.leave, nil
	}
	if errors.Is(err, q.opts.Busy) {
		err = q.busy(by)
	}
	return nil, err
}

func (q *Queue) busy(by caller) error {
	if q.opts.Refused != nil {
		q.opts.Refused(by.source)
	}
	return q.opts.Busy
}

// join adds work to the queue, and gives it its place if one is free. It returns false if the queue is full.
func (q *Queue) join(by caller) (*waiter, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &q.queue[by.class]
	s := c.sources[by.source]
	if c.waiting >= maxClass || s != nil && s.waiting >= cmp.Or(q.opts.Source, maxSource) {
		return nil, false
	}
	if c.waiting == 0 {
		c.pass = max(c.pass, q.pass) // a class that had no work has saved nothing
	}
	if s == nil {
		s = &sourceQueue{name: by.source, accounts: make(map[string]*accountQueue)}
		s.turn = c.turns.PushBack(s)
		c.sources[s.name] = s
	}
	a := s.accounts[by.account]
	if a == nil {
		a = &accountQueue{name: by.account}
		a.turn = s.turns.PushBack(a)
		s.accounts[a.name] = a
	}
	w := &waiter{caller: by, ready: make(chan struct{})}
	w.turn = a.work.PushBack(w)
	c.waiting++
	s.waiting++
	q.serve()
	return w, true
}

// serve hands out free places. Called with mu held.
func (q *Queue) serve() {
	for q.free > 0 {
		next := -1
		for i := range q.queue {
			if q.queue[i].waiting > 0 && (Class(i) != Suspects || q.paused == nil) && (next < 0 || q.queue[i].pass < q.queue[next].pass) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		c := &q.queue[next]
		q.pass = c.pass
		c.pass += stride / weights[next]
		s := c.turns.Front().Value.(*sourceQueue)
		a := s.turns.Front().Value.(*accountQueue)
		w := a.work.Front().Value.(*waiter)
		c.turns.MoveToBack(s.turn)
		s.turns.MoveToBack(a.turn)
		q.remove(w)
		q.free--
		close(w.ready)
		if Class(next) == Suspects {
			q.paused = time.AfterFunc(suspectPause, q.resume)
		}
	}
}

// resume ends the pause of suspects.
func (q *Queue) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = nil
	q.serve()
}

// remove takes work out of the queue. Called with mu held.
func (q *Queue) remove(w *waiter) {
	c := &q.queue[w.caller.class]
	s := c.sources[w.caller.source]
	a := s.accounts[w.caller.account]
	a.work.Remove(w.turn)
	w.turn = nil
	if a.work.Len() == 0 {
		s.turns.Remove(a.turn)
		delete(s.accounts, a.name)
	}
	c.waiting--
	if s.waiting--; s.waiting == 0 {
		c.turns.Remove(s.turn)
		delete(c.sources, s.name)
	}
}

// cancel takes work out of the queue that waits no longer. It returns false if the work has its place.
func (q *Queue) cancel(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.turn == nil {
		return false
	}
	q.remove(w)
	return true
}

func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free++
	q.serve()
}

// Waiting returns how much work waits.
func (q *Queue) Waiting() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.queue {
		n += q.queue[i].waiting
	}
	return n
}
