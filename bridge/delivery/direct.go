package delivery

import (
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"
)

// A message between two lanes of this process need not pass through NATS, which takes ten changes of goroutines for a
// dialogue and its acknowledgement. A lane puts an acknowledgement into the channel of the lane that waits for it. It
// does the same with a dialogue, if NATS would deliver it to the friend's lane and nowhere else.

// post puts a message into the lane's channel as if it came from NATS. It returns false if the lane is closed or has too
// many messages: then NATS takes it. It does not wait, since two lanes may post to each other.
func (l *lane) post(m *nats.Msg) bool {
	l.posting.RLock()
	defer l.posting.RUnlock()
	if l.closed {
		return false
	}
	select {
	case l.in <- m:
		return true
	default:
		return false
	}
}

// closeIn closes the lane's channel.
func (l *lane) closeIn() {
	l.posting.Lock()
	defer l.posting.Unlock()
	l.closed = true
	close(l.in)
}

// waitingOn returns the lane of this process with that inbox, nil if there is none.
func (l *Lanes) waitingOn(inbox string) *lane {
	if l == nil {
		return nil
	}
	if all := l.inboxes.Load(); all != nil {
		return (*all)[inbox]
	}
	return nil
}

// noteInboxes makes the lanes known to each other.
func (l *Lanes) noteInboxes() {
	all := make(map[string]*lane, len(l.lanes))
	for _, lane := range l.lanes {
		all[lane.flights.inbox] = lane
	}
	l.inboxes.Store(&all)
}

// post puts an acknowledgement or a refusal into the channel of the lane that waits for it. It returns false if no lane of
// this process does, or if that cannot take it.
func (b *ackBatch) post(inbox, to string, data []byte) bool {
	l := b.lanes.waitingOn(inbox)
	return l != nil && l.post(&nats.Msg{Subject: to, Data: append([]byte(nil), data...)})
}

// only returns the lane of this process that NATS would deliver a dialogue to, nil if there may be other receivers: then
// NATS delivers it. Where other nodes serve users, these may have subscribed a moment ago.
func (l *lane) only(fl *flight) *lane {
	if l.interest == nil || !l.flights.alone() || !l.fresh() || fl.live || fl.number != 0 {
		return nil
	}
	u := l.lanes.User(fl.to)
	if u == nil || !u.subscribed.Load() || fl.subject != l.names.Dialogue(fl.to) || l.interest(fl.subject) != 1 {
		return nil
	}
	return u.lane
}

// directAfter is how long dialogues go through NATS after one has expired that NATS may still deliver.
const directAfter = time.Minute

// sends marks a flight as one that NATS delivers, unless it may go to a lane directly: dialogues that NATS has not
// delivered yet must not be overtaken. Called with mu held.
func (f *flights) sends(fl *flight, direct bool) (directly bool) {
	if direct && f.published == 0 && !time.Now().Before(f.direct) {
		return true
	}
	f.publishes(fl)
	return false
}

// publishes marks a flight as one that NATS delivers. Called with mu held.
func (f *flights) publishes(fl *flight) {
	if !fl.published && !fl.probe() {
		fl.published = true
		f.published++
	}
}

// delivered ends the mark of publishes. A flight without a reply may still be delivered. Called with mu held.
func (f *flights) delivered(fl *flight, now time.Time) {
	if !fl.published {
		return
	}
	fl.published = false
	f.published--
	if !now.Before(fl.expires) || fl.refusal != 0 {
		f.direct = now.Add(directAfter)
	}
}

// hand puts a dialogue into the channel of its receiver. The flight may end, and its buffers be used again, before the
// receiver has read them, so the message has a copy.
func (f *flights) hand(fl *flight, to *lane) bool {
	f.stamp(fl.reply)
	b := make([]byte, 0, len(fl.reply)+len(fl.data))
	b = append(append(b, fl.reply...), fl.data...)
	n := len(fl.reply)
	return to.post(&nats.Msg{Subject: fl.subject, Reply: unsafe.String(unsafe.SliceData(b), n), Data: b[n:]})
}
