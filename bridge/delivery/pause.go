package delivery

import (
	"context"
	"sync"

	"imctl/bridge/wire"
)

// Before the connections move to another NATS server, the lanes let the dialogues in flight end, whose replies the old
// connections receive. Dialogues that begin meanwhile wait, and are sent in order on the new connections.

// Pause keeps dialogues from being sent, and returns once none is in flight or ctx ends. resume sends those that wait.
func (l *Lanes) Pause(ctx context.Context) (resume func()) {
	var wg sync.WaitGroup
	for _, lane := range l.lanes {
		wg.Go(func() { lane.flights.pause(ctx) })
	}
	wg.Wait()
	return func() {
		for _, lane := range l.lanes {
			lane.askAgain()
			lane.flights.resume()
		}
	}
}

// pause is Lanes.Pause.
func (f *flights) pause(ctx context.Context) {
	f.mu.Lock()
	f.paused = true
	quiet := make(chan struct{})
	f.quiet = quiet
	f.noteQuiet()
	f.mu.Unlock()
	select {
	case <-quiet:
	case <-ctx.Done():
		f.mu.Lock()
		f.quiet = nil
		f.mu.Unlock()
	}
}

// moving reports whether a pause's wait has ended, so that nothing may be sent before resume. Called with mu held.
func (f *flights) moving() bool { return f.paused && f.quiet == nil }

// noteQuiet ends a pause's wait if only flights that wait are left. Called with mu held.
func (f *flights) noteQuiet() {
	if f.quiet != nil && f.active <= len(f.waiting) {
		close(f.quiet)
		f.quiet = nil
	}
}

// wait keeps a flight until resume. It returns false unless the flights are paused. Called with mu held.
func (f *flights) wait(n uint32) bool {
	if f.paused {
		f.waiting = append(f.waiting, use{n, f.slots[n].round})
	}
	return f.paused
}

// resume sends the flights that wait, in order. Flights that begin meanwhile wait for its end.
func (f *flights) resume() {
	for {
		f.mu.Lock()
		waiting := f.waiting
		f.waiting, f.quiet = nil, nil
		if len(waiting) == 0 {
			f.paused = false
			f.mu.Unlock()
			return
		}
		sending := waiting[:0]
		var flying []*flight
		for _, u := range waiting {
			if f.is(u.n, u.round) && !f.enqueue(u.n) {
				fl := f.slots[u.n].flight
				fl.sending = true
				sending, flying = append(sending, u), append(flying, fl)
			}
		}
		f.mu.Unlock()
		for i, fl := range flying {
			if f.publish(fl) != nil {
				f.finish(sending[i].n, sending[i].round, wire.SendFailed)
			}
		}
		f.mu.Lock()
		for _, fl := range flying {
			fl.sending = false
		}
		f.mu.Unlock()
	}
}
