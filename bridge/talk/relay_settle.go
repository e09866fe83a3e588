package talk

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/recovery"
	"imctl/kv"
)

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
			r.refuse(batch)
		}
		return
	}
	err := decodeAnswers(m.Data, func(a answer) {
		r.mu.Lock()
		e := r.removeLocked(a.token)
		r.mu.Unlock()
		if e == nil {
			return
		}
		r.answered(e, a)
		r.mu.Lock()
		failed := r.advance(e.pair)
		r.mu.Unlock()
		r.tell(failed)
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

// removeLocked ends the wait for a dialogue. It returns nil if that has ended. Called with mu held.
func (r *Relay) removeLocked(token uint64) *relayed {
	e := r.sent[token]
	if e == nil {
		return nil
	}
	delete(r.sent, token)
	rt := r.routes[e.pair]
	i := slices.Index(rt.queue, e)
	if rt.queue = slices.Delete(rt.queue, i, i+1); len(rt.queue) == 0 {
		delete(r.routes, e.pair)
	}
	return e
}

// refuse notes that a home has not received a message.
func (r *Relay) refuse(batch uint64) {
	var failed []failure
	r.mu.Lock()
	now := time.Now()
	for _, e := range r.some(func(e *relayed) bool { return e.batch == batch }) {
		rt := r.routes[e.pair]
		if rt == nil { // committed here, behind the one before
			continue
		}
		if rt.refused.IsZero() {
			rt.refused = now
		}
		for _, later := range rt.queue[slices.Index(rt.queue, e):] {
			later.refused = true
		}
		failed = append(failed, r.advance(e.pair)...)
	}
	r.mu.Unlock()
	r.tell(failed)
}

// failure is a dialogue that was refused, and why.
type failure struct {
	e   *relayed
	err error
}

// advance commits here the dialogues at the front of a route that its home has not received. Called with mu held: a later
// dialogue must not overtake them.
func (r *Relay) advance(p kv.Pair) (failed []failure) {
	for rt := r.routes[p]; rt != nil && len(rt.queue) > 0 && rt.queue[0].refused; {
		e := r.removeLocked(rt.queue[0].token)
		if err := r.Service.Add(e.to, e.d, (*retried)(e)); err != nil {
			failed = append(failed, failure{e, err})
		}
	}
	return failed
}

// tell answers dialogues that were refused.
func (r *Relay) tell(failed []failure) {
	for _, f := range failed {
		r.answered(f.e, answer{err: f.err})
	}
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

// here commits on this node dialogues whose home is lost. One that the home may have stored is committed if its id tells
// it from all others: it is then stored once. For any other the outcome is unknown.
func (r *Relay) here(which func(*relayed) bool) {
	var failed []failure
	r.mu.Lock()
	// The mutex is held until all are queued: a later dialogue must not overtake them.
	for _, e := range r.some(which) {
		r.removeLocked(e.token)
		err := errHomeLost
		if e.refused || e.batch == 0 || e.d.Kept {
			err = r.Service.Add(e.to, e.d, (*retried)(e))
		}
		if err != nil {
			failed = append(failed, failure{e, err})
		}
	}
	r.mu.Unlock()
	r.tell(failed)
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
	r.here(func(e *relayed) bool {
		rt := r.routes[e.pair]
		return !slices.Contains(homes, rt.home) || !rt.refused.IsZero() && now.Sub(rt.refused) > leavingTime
	})
	r.fail(errExpired, func(e *relayed) bool { return !now.Before(e.expires) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sent) > 0 && r.ctx.Err() == nil {
		r.check.Reset(relayCheck)
	}
}
