package delivery

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"imctl/bridge/cluster"
	"imctl/bridge/wire"
)

// In a cluster of NATS servers a dialogue may find no subscription although its friend has just come online on another
// server: the interest is still on its way. So a lane resends the dialogue once, a moment later, before it reports the
// friend as offline. Meanwhile all later dialogues to that friend wait behind it. If a later dialogue was delivered,
// the lane does not resend the earlier one: dialogues of one sender to one friend arrive in the order in which they
// were sent, or not at all.

const (
	// interestDelay is how long interest may take from one server of a NATS cluster to another, with a margin.
	interestDelay = cluster.InterestDelay
	// movedDelay replaces interestDelay for movedTime after the lane lost its NATS server: the nodes of its friends may
	// have lost it too.
	movedDelay = 5 * interestDelay
	movedTime  = 2 * time.Second
	// returnTime is how long other nodes and NATS clients may take to return after an outage of NATS.
	returnTime = 2 * time.Second
	// refusalDelay is how long a refused dialogue waits for another node, or a NATS client, to accept it. NATS does not
	// tell how many subscribers a request has.
	refusalDelay = 500 * time.Millisecond
	// keepsDelay is the same for a node on which all sessions take part in kept conversations. It is long, since the
	// dialogue is then stored and sent once more.
	keepsDelay = 2 * time.Second
)

// hold keeps a dialogue that found no subscription, to resend it. It returns false where that is of no use: all users
// are on this node, or all nodes on one server, or it was done before. Presence probes are not resent.
func (f *flights) hold(n, round uint32) bool {
	if f.alone() || f.nc.ConnectedClusterName() == "" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.is(n, round) || f.slots[n].flight.resent || f.slots[n].flight.probe() {
		return false
	}
	subject := f.slots[n].flight.subject
	if _, ok := f.held[subject]; !ok {
		f.held[subject] = nil
		wait := f.holdFor
		if time.Since(f.lost) < movedTime {
			wait = max(wait, movedDelay)
		}
		time.AfterFunc(wait, func() { f.resend(subject) })
	}
	return f.enqueue(n)
}

func (f *flights) setBack(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.back = at
}

// returning reports whether a subject may have no subscription only because its node has not returned to NATS yet.
func (f *flights) returning() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.back) < returnTime
}

// enqueue puts a flight behind those that wait for its subject. It returns false if none does. Called with mu held.
func (f *flights) enqueue(n uint32) bool {
	fl := f.slots[n].flight
	waiting, ok := f.held[fl.subject]
	if !ok || fl.probe() {
		return false
	}
	fl.resent = true
	f.held[fl.subject] = append(waiting, use{n, f.slots[n].round})
	return true
}

// overtaken returns the waiting flights of a subject that are older than order, since a later flight has been answered.
// Called with mu held.
func (f *flights) overtaken(subject string, order uint64) (late []use) {
	for _, u := range f.held[subject] {
		if f.is(u.n, u.round) && f.slots[u.n].flight.order < order {
			late = append(late, u)
		}
	}
	return late
}

// resend sends the waiting flights of a subject, in order, except those that a later flight may have overtaken. Flights
// that begin meanwhile wait for its end.
func (f *flights) resend(subject string) {
	for {
		f.mu.Lock()
		if f.moving() {
			time.AfterFunc(f.holdFor, func() { f.resend(subject) })
			f.mu.Unlock()
			return
		}
		waiting := f.held[subject]
		if len(waiting) == 0 {
			delete(f.held, subject)
			f.mu.Unlock()
			return
		}
		f.held[subject] = nil
		var late []use
		waiting, late = f.sortWaiting(subject, waiting)
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

// sortWaiting drops the waiting flights that have ended and sorts the rest by age. late are those that are older than a
// flight that is already sent. Called with mu held.
func (f *flights) sortWaiting(subject string, waiting []use) (sorted, late []use) {
	waiting = slices.DeleteFunc(waiting, func(u use) bool { return !f.is(u.n, u.round) })
	slices.SortFunc(waiting, func(a, b use) int { return cmp.Compare(f.slots[a.n].flight.order, f.slots[b.n].flight.order) })
	var sent uint64 // order of the last flight that is sent and not answered
	for n := range f.slots {
		if fl := f.slots[n].flight; fl != nil && !fl.resent && !fl.probe() && fl.subject == subject {
			sent = max(sent, fl.order)
		}
	}
	first := slices.IndexFunc(waiting, func(u use) bool { return f.slots[u.n].flight.order > sent })
	if first < 0 {
		first = len(waiting)
	}
	return waiting[first:], waiting[:first]
}

// refused keeps a refused flight waiting for a while, because another node or client may still accept it. If none does,
// and all refusals came from nodes without a session of the friend, the friend is offline.
func (f *flights) refused(n, round uint32, code wire.Code) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.is(n, round) {
		return false
	}
	switch fl := f.slots[n].flight; {
	case code == wire.SendFailed, fl.refusal == 0, fl.refusal == wire.PeerOffline:
		fl.refusal = code
	}
	wait := refusalDelay
	if code == keepsOnly {
		wait = keepsDelay
	}
	if f.alone() || f.slots[n].flight.probe() {
		wait = interestDelay
	}
	if soon := time.Now().Add(wait); soon.Before(f.slots[n].flight.expires) {
		f.slots[n].flight.expires = soon
	}
	return true
}

// refusalOf returns the code that a refusal means if no node or client accepts the dialogue.
func refusalOf(reply []byte) wire.Code {
	switch {
	case bytes.Equal(reply, left):
		return wire.PeerOffline
	case bytes.Equal(reply, keepsOnlyReply):
		return keepsOnly
	}
	return wire.SendFailed
}
