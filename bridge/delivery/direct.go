package delivery

import (
	"bytes"

	"github.com/nats-io/nats.go"
)

// An acknowledgement between two lanes of this process need not pass through NATS, which takes five changes of
// goroutines. The lane of the friend puts it into the channel of the lane that waits for it. Dialogues do pass through
// NATS: only NATS knows all subscribers of a subject. Account.Interest of nats-server may count one where there are more.

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
	return l != nil && l.post(&nats.Msg{Subject: to, Data: bytes.Clone(data)})
}
