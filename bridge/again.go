package bridge

import (
	"cmp"
	"slices"
	"time"

	"imctl/bridge/wire"
)

// In a cluster of NATS servers a dialogue may find nobody although its friend has just come online on another server:
// word of that is under way. So it is sent once more, a moment later, before the friend is said to be offline. Meanwhile
// whatever else goes to that friend waits behind it, and where a later dialogue was taken the earlier one is not sent any
// more: dialogues of one sender to one friend arrive in the order in which they were sent, or not at all.

const (
	// crossing is how long interest may take to cross from one server of a cluster to another, with a margin.
	crossing = 50 * time.Millisecond
	// secondThoughts is how much longer a refused dialogue waits for another node, or a NATS client, to take it. NATS
	// does not say how many were asked.
	secondThoughts = 500 * time.Millisecond
)

// retry holds a dialogue that found nobody, to send it once more. It reports false where that is of no use: all users
// are on this node, or all nodes on one server, or it was done before. Questions about presence have no id, and are
// content with the first answer.
func (f *flights) retry(n, round uint32) bool {
	if f.alone.Load() || f.nc.ConnectedClusterName() == "" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.is(n, round) || f.slots[n].flight.again || len(f.slots[n].flight.id) == 0 {
		return false
	}
	subject := f.slots[n].flight.subject
	if _, ok := f.held[subject]; !ok {
		f.held[subject] = nil
		time.AfterFunc(f.hold, func() { f.sendHeld(subject) })
	}
	return f.queue(n)
}

// queue puts a flight behind what waits for its subject, and reports false if nothing does. Called with mu held.
func (f *flights) queue(n uint32) bool {
	fl := f.slots[n].flight
	waiting, ok := f.held[fl.subject]
	if !ok || len(fl.id) == 0 {
		return false
	}
	fl.again = true
	f.held[fl.subject] = append(waiting, use{n, f.slots[n].round})
	return true
}

// overtaken lists the flights that wait for a subject on which a later one met somebody. Called with mu held.
func (f *flights) overtaken(subject string, order uint64) (late []use) {
	for _, u := range f.held[subject] {
		if f.is(u.n, u.round) && f.slots[u.n].flight.order < order {
			late = append(late, u)
		}
	}
	return late
}

// sendHeld sends what waited for a subject, in order, but for what a later one may have overtaken that is not answered
// yet. Whatever is sent while it is at work waits for its end.
func (f *flights) sendHeld(subject string) {
	for {
		f.mu.Lock()
		waiting := f.held[subject]
		if len(waiting) == 0 {
			delete(f.held, subject)
			f.mu.Unlock()
			return
		}
		f.held[subject] = nil
		var late []use
		waiting, late = f.inOrder(subject, waiting)
		sending := make([]*flight, len(waiting))
		for i, u := range waiting {
			sending[i] = f.slots[u.n].flight
			sending[i].sending = true
		}
		f.mu.Unlock()
		for _, u := range late {
			f.finish(u.n, u.round, wire.PeerOffline)
		}
		for i, u := range waiting {
			if f.publish(sending[i]) != nil {
				f.finish(u.n, u.round, wire.SendFailed)
			}
		}
		f.mu.Lock()
		for _, fl := range sending {
			fl.sending = false
		}
		f.mu.Unlock()
	}
}

// inOrder sorts the flights that are still under way, and parts from them those that began before one that is on its way
// already. Called with mu held.
func (f *flights) inOrder(subject string, waiting []use) (sorted, late []use) {
	waiting = slices.DeleteFunc(waiting, func(u use) bool { return !f.is(u.n, u.round) })
	slices.SortFunc(waiting, func(a, b use) int { return cmp.Compare(f.slots[a.n].flight.order, f.slots[b.n].flight.order) })
	var sent uint64 // order of the last that is on its way
	for n := range f.slots {
		if fl := f.slots[n].flight; fl != nil && !fl.again && len(fl.id) > 0 && fl.subject == subject {
			sent = max(sent, fl.order)
		}
	}
	first := slices.IndexFunc(waiting, func(u use) bool { return f.slots[u.n].flight.order > sent })
	if first < 0 {
		first = len(waiting)
	}
	return waiting[first:], waiting[:first]
}

// refused keeps a refused dialogue waiting for a while, because another node or client may still accept it. If none does
// and no refusal came from a session, the friend is offline.
func (f *flights) refused(n, round uint32, gone bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.is(n, round) {
		return false
	}
	switch fl := f.slots[n].flight; {
	case !gone:
		fl.refusal = wire.SendFailed
	case fl.refusal == 0:
		fl.refusal = wire.PeerOffline
	}
	wait := secondThoughts
	if f.alone.Load() {
		wait = crossing
	}
	if soon := time.Now().Add(wait); soon.Before(f.slots[n].flight.expires) {
		f.slots[n].flight.expires = soon
	}
	return true
}
