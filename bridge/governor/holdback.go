package governor

import (
	"sync"
	"time"
)

const (
	holdBack = time.Second
	maxHeld  = 1 << 14 // answers that are held back; further ones leave at once
)

// HoldBack delays the answers to calls over NATS that a limit refuses, as Delay does over HTTP. Otherwise a program
// that calls again at once would cost the server a refusal for each round trip. It holds no goroutine for an answer. It
// delays by less than Delay, since clients of NATS often wait for an answer for two seconds only. It is safe for
// concurrent use.
type HoldBack struct {
	g       *Governor
	held    chan heldAnswer
	done    chan struct{} // closed when answers are no longer held back
	running sync.WaitGroup
}

type heldAnswer struct {
	due    time.Time
	answer func()
}

// NewHoldBack returns a HoldBack that holds nothing. Close ends it.
func (g *Governor) NewHoldBack() *HoldBack {
	h := &HoldBack{g: g, held: make(chan heldAnswer, maxHeld), done: make(chan struct{})}
	h.running.Go(h.run)
	return h
}

func (h *HoldBack) run() {
	for a := range h.held { // all have waited equally long, so they are in order
		if wait := time.Until(a.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-h.done:
			}
		}
		a.answer()
	}
}

// Answer calls answer: at once, or later if calls of the source are refused more often than limits.refusals. source is
// an attachment, or the id of a user.
func (h *HoldBack) Answer(source string, answer func()) {
	if _, ok := h.g.budgets.take(Refusals, source, h.g.opts.Load().Refusals, time.Now(), 0); ok {
		answer()
		return
	}
	select {
	case h.held <- heldAnswer{time.Now().Add(holdBack), answer}:
	default:
		answer()
	}
}

// Close gives the answers that are held back. Answer must not be called any more.
func (h *HoldBack) Close() {
	close(h.done)
	close(h.held)
	h.running.Wait()
}
