package governor

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A program is an attachment that makes calls: a reader, a service or a gateway. Its rate bounds what it may ask for,
// and a ProgramQueue bounds what it may have under way. So a program that calls without end delays itself, other
// programs by the calls that are under way, and people by no more than that.

const (
	programCalls = 1 << 10  // of one program that wait or run; further ones are refused
	programBytes = 16 << 20 // of the bodies of these calls

	// programWait is how long a call waits for its place. It is the time limit of the work for a call, too.
	programWait = 20 * time.Second
	// programRetry is when a program may try again that has too many calls under way.
	programRetry = time.Second

	// pagesAtOnce is how many lists of users are read at the same time for all programs. The store reads a list under a
	// lock that the logins of people need too: 16 at once, of 1,000 users each, made a login last two seconds.
	pagesAtOnce = 1
)

// tenIDs are the bytes of ten ids of users in the body of a call, with their quotes and commas.
const tenIDs = 350

// CostOfIDs returns as how many calls a call counts that names users: one more for each ten of them. It does not parse
// the body, which has size bytes, since it is asked for each call of a flood.
func CostOfIDs(size int) int { return 1 + size/tenIDs }

// AllowProgramCall counts a call of a reader or a service as n calls. Errors: ErrLimited.
func (g *Governor) AllowProgramCall(program string, n int) error {
	return g.allow(charge{ProgramCalls, program, g.opts.Load().ProgramCalls.divided(n)})
}

// OfAttachment reports whether the sources of a limit are attachments.
func (r Reason) OfAttachment() bool {
	return r == GatewayDialogues || r == GatewayCalls || r == ProgramCalls
}

// errNoPlace: a call found no place in time.
var errNoPlace = errors.New("no place")

// newPlaces returns the queue for calls of programs.
func newPlaces(places int) *Queue {
	return NewQueue(QueueOptions{Places: places, Wait: programWait, Busy: errNoPlace, Source: programCalls})
}

// ProgramQueue runs the calls of programs. Programs with waiting calls take turns. It is safe for concurrent use.
type ProgramQueue struct {
	g       *Governor
	reason  Reason // of refusals
	places  *Queue
	ctx     context.Context // ends when Close begins
	stop    context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex // guards the fields below
	has map[string]held
}

// held is what a program has that waits or runs.
type held struct{ calls, bytes int }

// NewProgramQueue returns a queue that runs as many calls at the same time as it has places, and lists of users besides.
// Its refusals have the reason. Close ends it.
func (g *Governor) NewProgramQueue(reason Reason, places int) *ProgramQueue {
	p := &ProgramQueue{g: g, reason: reason, places: newPlaces(places), has: make(map[string]held)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Run runs a call in a goroutine when the turn of the program has come. list tells that the call lists users, and size
// is that of its body in bytes. Run calls either do or refused: the latter at once if the program has too many calls, and
// after a wait without a place.
//
// Errors for refused: ErrLimited, and context.Canceled after Close.
func (p *ProgramQueue) Run(program string, list bool, size int, do func(), refused func(error)) {
	if !p.hold(program, size) {
		refused(p.g.refuse(p.reason, program, programRetry))
		return
	}
	p.running.Go(func() {
		defer p.release(program, size)
		queue := p.places
		if list {
			queue = p.g.pages
		}
		leave, err := queue.Enter(WithCaller(p.ctx, Programs, program, ""))
		switch {
		case errors.Is(err, errNoPlace):
			refused(p.g.refuse(p.reason, program, programRetry))
		case err != nil:
			refused(err)
		default:
			defer leave()
			do()
		}
	})
}

// hold counts a call of a program. It returns false if the program has too many already.
func (p *ProgramQueue) hold(program string, size int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	has := p.has[program]
	if has.calls == programCalls || has.calls > 0 && has.bytes+size > programBytes {
		return false
	}
	p.has[program] = held{has.calls + 1, has.bytes + size}
	return true
}

func (p *ProgramQueue) release(program string, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	has := p.has[program]
	if has = (held{has.calls - 1, has.bytes - size}); has.calls > 0 {
		p.has[program] = has
	} else {
		delete(p.has, program)
	}
}

// Close refuses the calls that wait, and returns when those that run have ended.
func (p *ProgramQueue) Close() {
	p.stop()
	p.running.Wait()
}
